"""A client by curl_cffi, which brings a libcurl with a BoringSSL of its own. For each line `COUNT METHOD URL` of its standard
input it makes so many requests, and says the status of the last. Its argument is the version of HTTP."""

import sys

from curl_cffi import CurlHttpVersion, requests

VERSIONS = {"1.1": CurlHttpVersion.V1_1, "2": CurlHttpVersion.V2_0}

print("ready", flush=True)
with requests.Session(verify=False, http_version=VERSIONS[sys.argv[1]]) as session:
    for line in sys.stdin:
        count, method, url = line.split()
        for _ in range(int(count)):
            response = session.request(method, url, data=b"12345" if method == "POST" else None)
        print("done", response.status_code, flush=True)
