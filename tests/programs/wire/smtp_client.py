"""Sends mails, of which some are refused. Usage: PORT"""

import smtplib
import sys

print("ready", flush=True)
sys.stdin.readline()
with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), local_hostname="client.shop") as mail:
    for nth in range(20):
        text = f"Subject: secret {nth}\r\n\r\nQUIT\r\nRSET\r\n" + "secret words\r\n" * 3000
        mail.sendmail("secret@shop", ["a@shop", "b@shop"], text)
    for sender, to, text in [("a@shop", "nobody@shop", "x"), ("a@shop", "b@shop", "spam")]:
        try:
            mail.sendmail(sender, [to], text)
        except smtplib.SMTPException:
            pass
    mail.noop()
print("done", flush=True)
sys.stdin.readline()
