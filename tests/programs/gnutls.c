// HTTP/1.1 over GnuTLS by each of its record functions. `serve CERTIFICATE KEY HOW` answers every request with 203 and 1000 bytes,
// but for `rest`: 20000, of which a record does not hold all;
// `call PORT CALLS` makes requests on a connection each, by TLS 1.2 with False Start, when it reads a line.
#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BODY = 1000, LARGE = 20000 };

static int is(const char *one, const char *other) { return !strcmp(one, other); }

static long read_some(gnutls_session_t session, const char *how, char *bytes, size_t size) {
    unsigned char number[8];
    gnutls_packet_t packet = NULL;
    gnutls_datum_t data;
    long len;
    do {
        if (is(how, "seq")) {
            len = gnutls_record_recv_seq(session, bytes, size, number);
        } else if (is(how, "packet")) {
            len = gnutls_record_recv_packet(session, &packet);
            if (len > 0) {
                gnutls_packet_get(packet, &data, NULL);
                len = data.size;
                memcpy(bytes, data.data, data.size);
            }
            if (packet) gnutls_packet_deinit(packet);
            packet = NULL;
        } else {
            len = gnutls_record_recv(session, bytes, size);
        }
    } while (len == GNUTLS_E_AGAIN || len == GNUTLS_E_INTERRUPTED);
    return len;
}

static void answer(gnutls_session_t session, const char *how, FILE *body) {
    char head[100], bytes[BODY];
    int len = sprintf(head, "HTTP/1.1 203 Odd\r\nContent-Length: %d\r\n\r\n", BODY);
    memset(bytes, 'x', BODY);
    if (is(how, "cork")) {
        gnutls_record_cork(session);
        gnutls_record_send(session, head, len);
        gnutls_record_send(session, bytes, BODY);
        gnutls_record_uncork(session, GNUTLS_RECORD_WAIT);
    } else if (is(how, "send2")) {
        gnutls_record_send2(session, head, len, 32, 0);
        gnutls_record_send2(session, bytes, BODY, 32, 0);
    } else if (is(how, "range")) {
        gnutls_range_st range = {len, 4000}, larger = {BODY, 4000};
        gnutls_record_send_range(session, head, len, &range);
        gnutls_record_send_range(session, bytes, BODY, &larger);
    } else if (is(how, "rest")) {
        // What was not taken goes on elsewhere, with more behind it.
        static char large[LARGE + 200], rest[LARGE + 200];
        len = sprintf(large, "HTTP/1.1 203 Odd\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", LARGE);
        memset(large + len, 'x', LARGE);
        len += LARGE;
        long taken = gnutls_record_send(session, large, len);
        memcpy(rest, large + taken, len - taken);
        memcpy(rest + len - taken, "\r\n0\r\n\r\n", 7);
        gnutls_record_send(session, rest, len - taken + 7);
    } else if (is(how, "file")) {
        gnutls_record_send(session, head, len);
        lseek(fileno(body), 0, SEEK_SET);
        gnutls_record_send_file(session, fileno(body), NULL, BODY);
    } else {
        gnutls_record_send(session, head, len);
        gnutls_record_send(session, bytes, BODY);
    }
}

static void serve(gnutls_session_t session, const char *how, FILE *body) {
    char head[20000];
    size_t have = 0;
    if (gnutls_handshake(session)) return;
    for (;;) {
        char *end;
        head[have] = 0;
        while (!(end = strstr(head, "\r\n\r\n"))) {
            long len = read_some(session, how, head + have, sizeof head - 1 - have);
            if (len <= 0) return;
            head[have += len] = 0;
        }
        have -= end + 4 - head;
        memmove(head, end + 4, have);
        answer(session, how, body);
    }
}

static void call(gnutls_session_t session, int number) {
    char request[100], bytes[4000];
    int len = sprintf(request, "GET /call/%d HTTP/1.1\r\nHost: h\r\n\r\n", number);
    if (gnutls_handshake(session)) return;
    gnutls_record_send(session, request, len);
    for (long have = 0; have < BODY + 42;) {
        long some = read_some(session, "plain", bytes, sizeof bytes);
        if (some <= 0) break;
        have += some;
    }
}

int main(int count, char **argument) {
    int calls = is(argument[1], "call"), made = 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority;
    FILE *body = tmpfile();
    for (int i = 0; i < BODY; i++) fputc('x', body);
    fflush(body);
    (void)count;
    gnutls_certificate_allocate_credentials(&credentials);
    gnutls_priority_init(&priority, calls ? "NORMAL:-VERS-ALL:+VERS-TLS1.2" : "NORMAL", NULL);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (calls) {
        address.sin_port = htons(atoi(argument[2]));
        printf("ready\n"), fflush(stdout);
        for (int byte; (byte = getchar()) != '\n' && byte != EOF;) {}
    } else {
        gnutls_certificate_set_x509_key_file(credentials, argument[2], argument[3], GNUTLS_X509_FMT_PEM);
        bind(listener, (void *)&address, sizeof address);
        listen(listener, 64);
        getsockname(listener, (void *)&address, &size);
        printf("listening %d\n", ntohs(address.sin_port)), fflush(stdout);
    }
    for (; !calls || made < atoi(argument[3]); made++) {
        int carrier = calls ? socket(AF_INET, SOCK_STREAM, 0) : accept(listener, NULL, NULL);
        gnutls_session_t session;
        if (calls) connect(carrier, (void *)&address, sizeof address);
        gnutls_init(&session, calls ? GNUTLS_CLIENT | GNUTLS_ENABLE_FALSE_START : GNUTLS_SERVER);
        gnutls_priority_set(session, priority);
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
        gnutls_transport_set_int(session, carrier);
        if (calls) call(session, made);
        else serve(session, argument[4], body);
        if (calls && !(gnutls_session_get_flags(session) & GNUTLS_SFLAGS_FALSE_START)) printf("no False Start\n");
        gnutls_bye(session, GNUTLS_SHUT_WR);
        gnutls_deinit(session);
        close(carrier);
    }
    printf("done\n"), fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
