"""Adds people to a directory, looks for them, and fails at some of it. Usage: PORT. Says how often it has done what."""

import collections
import sys

import ldap3

port = int(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
counts = collections.Counter()
server = ldap3.Server("127.0.0.1", port=port, get_info=ldap3.NONE)
directory = ldap3.Connection(server, "cn=admin,dc=shop", "secret", client_strategy=ldap3.SYNC)


def done(name, _result):
    counts[name] += 1


done("bind", directory.bind())
done("add", directory.add("dc=shop", ["organization", "dcObject"], {"o": "secret", "dc": "shop"}))
for nth in range(30):
    done("add", directory.add(f"cn=secret{nth},dc=shop", "person", {"sn": "secret"}))
    done("search", directory.search("dc=shop", f"(&(objectClass=person)(sn=secret)(!(cn=x{nth})))", attributes=["cn", "sn"]))
    done("modify", directory.modify(f"cn=secret{nth},dc=shop", {"sn": [(ldap3.MODIFY_REPLACE, ["secret"])]}))
    done("compare", directory.compare(f"cn=secret{nth},dc=shop", "sn", "secret"))
done("delete", directory.delete("cn=nobody,dc=shop"))
done("unbind", directory.unbind())
wrong = ldap3.Connection(server, "cn=admin,dc=shop", "wrong-secret", client_strategy=ldap3.SYNC)
done("bind", wrong.bind())
done("unbind", wrong.unbind())
print("counted " + " ".join(f"{name}={count}" for name, count in sorted(counts.items())), flush=True)
sys.stdin.readline()
