// An HTTP server over TLS that looks whether something has come by `SSL_peek` before it reads, one connection after the other.
// `CERTIFICATE KEY` are the arguments; it says the port.
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n";

static void serve(SSL *ssl) {
    char first, bytes[4096];
    while (SSL_peek(ssl, &first, 1) == 1) {
        int len = 0, more = 0;
        // Without a body, a request ends with an empty line.
        while (len < (int)sizeof bytes && (more = SSL_read(ssl, bytes + len, sizeof bytes - len)) > 0) {
            len += more;
            if (len >= 4 && !memcmp(bytes + len - 4, "\r\n\r\n", 4)) break;
        }
        if (more <= 0 || SSL_write(ssl, answer, sizeof answer - 1) <= 0) return;
    }
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, arguments[1]) != 1) return 1;
    if (SSL_CTX_use_PrivateKey_file(context, arguments[2], SSL_FILETYPE_PEM) != 1) return 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 16)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int socket = accept(listener, NULL, NULL);
        SSL *ssl = SSL_new(context);
        SSL_set_fd(ssl, socket);
        if (SSL_accept(ssl) == 1) serve(ssl);
        SSL_free(ssl);
        close(socket);
    }
}
