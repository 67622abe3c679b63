/* An HTTP client: `call PORT PATH [COUNT]`, each on a connection of its own; says nothing, fails if it is not answered. */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int left = argc > 3 ? atoi(argv[3]) : 1; left > 0; left--) {
        char text[4096];
        int connection = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(connection, (struct sockaddr *)&address, sizeof address))
            return perror("connect"), 1;
        int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n", argv[2]);
        if (write(connection, text, length) != length)
            return perror("write"), 1;
        while (read(connection, text, sizeof text) > 0) {
        }
        close(connection);
    }
    return 0;
}
