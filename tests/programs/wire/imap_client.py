"""Puts messages into a mailbox, looks for them and reads them; some of what it asks for fails. Usage: PORT. Says how many commands it gave, by
name."""

import collections
import imaplib
import select
import sys

counts = collections.Counter()


class Counted(imaplib.IMAP4):
    def _command(self, name, *args):
        counts[f"{name} {args[0]}" if name == "UID" else name] += 1
        return super()._command(name, *args)


imaplib.Commands["XYZZY"] = ("AUTH", "SELECTED")


def refused(call):
    try:
        call()
    except imaplib.IMAP4.error:
        return
    raise SystemExit("it was to be refused")


print("ready", flush=True)
sys.stdin.readline()
port = int(sys.argv[1])
mail = Counted("127.0.0.1", port)
refused(lambda: mail.login("alice", "wrong secret"))
mail.login("alice", "secret")
for nth in range(20):
    # Of more than one line, among them what looks like a command and like an answer.
    text = f"Subject: secret {nth}\r\n\r\nA1 NOOP\r\nA1 OK done\r\n* BYE\r\n" + "secret words {9}\r\n" * 100
    assert mail.append("INBOX", None, None, text.encode())[0] == "OK"
assert mail.select("INBOX")[0] == "OK"
assert mail.select("secret")[0] == "NO"
mail.select("INBOX")
for nth in range(1, 11):
    assert mail.fetch(str(nth), "(FLAGS BODY[])")[0] == "OK"
    assert mail.uid("FETCH", str(nth), "(BODY.PEEK[HEADER])")[0] == "OK"
assert mail.search(None, "SUBJECT", '"secret"')[0] == "OK"
assert mail.store("1:5", "+FLAGS", "\\Deleted")[0] == "OK"
refused(lambda: mail._simple_command("XYZZY"))
# It waits for what happens meanwhile, and gives that up.
counts["IDLE"] += 1
mail.send(b"WAIT1 IDLE\r\n")
while not mail.readline().startswith(b"+"):
    pass
select.select([mail.sock], [], [], 0.05)
mail.send(b"DONE\r\n")
while not mail.readline().startswith(b"WAIT1 OK"):
    pass
mail.expunge()
mail.noop()
mail.logout()
counts["_OTHER"] = counts.pop("XYZZY")
print("counted " + " ".join(f"{name.replace(' ', '_')}={count}" for name, count in sorted(counts.items())), flush=True)
sys.stdin.readline()
