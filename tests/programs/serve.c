/* A small HTTP server without libraries, for a root of its own: answers each connection's one request. Argument: the port, on any address. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **words) {
    if (count < 2)
        return 2;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 64))
        return 1;
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    for (;;) {
        int client = accept(listener, 0, 0);
        char request[4096];
        if (read(client, request, sizeof request) > 0 && write(client, answer, sizeof answer - 1) < 0)
            return 1;
        close(client);
    }
}
