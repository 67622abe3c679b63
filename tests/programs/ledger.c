/* An HTTP server: one request per connection. With an argument, each is answered by a child of its own, which ends; the
 * argument is how many milliseconds that takes. */

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void answer(int connection) {
    static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    char request[4096];
    if (read(connection, request, sizeof request) > 0 && write(connection, response, sizeof response - 1) < 0)
        perror("write");
    close(connection);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)
        || getsockname(listener, (struct sockaddr *)&address, &length))
        return perror("listen"), 1;
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0)
            continue;
        if (argc < 2) {
            answer(connection);
        } else if (fork() == 0) {
            usleep(1000 * atoi(argv[1]));
            answer(connection);
            _exit(0);
        }
        if (argc >= 2)
            close(connection);
    }
}
