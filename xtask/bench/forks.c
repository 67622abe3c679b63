/* Starts processes when told to: `storm KIND RATE SECONDS` so many per second, which end at once (`fork`, `vfork`, or `exec`: after
 * a program of their own); `stay COUNT`, which wait for their parent's end or for `leave`; `request PORT`: itself makes a request. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void request(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    const char text[] = "GET /forks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    char answer[4096];
    if (connect(connection, (struct sockaddr *)&to, sizeof to) || write(connection, text, sizeof text - 1) < 0) {
        perror("request");
        exit(1);
    }
    while (read(connection, answer, sizeof answer) > 0)
        ;
    close(connection);
    puts("started 0 in 0 ms");
}

static void start_one(char kind) {
    char *const arguments[] = {"true", NULL};
    pid_t child = kind == 'f' ? fork() : vfork();
    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child == 0) {
        if (kind == 'e')
            execv("/bin/true", arguments);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void storm(char kind, double rate, double seconds) {
    long started = 0;
    double began = now(), elapsed = 0;
    while ((elapsed = now() - began) < seconds) {
        long due = (long)(elapsed * rate);
        for (; started < due && now() - began < seconds; started++)
            start_one(kind);
        usleep(500);
    }
    printf("started %ld in %.0f ms\n", started, elapsed * 1e3);
}

static pid_t staying[1 << 16];
static int stay_count;

static void stay(int count) {
    pid_t parent = getpid();
    for (int at = 0; at < count; at++) {
        pid_t child = fork();
        if (child < 0) {
            perror("fork");
            exit(1);
        }
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == parent)
                pause();
            _exit(0);
        }
        if (stay_count < (int)(sizeof staying / sizeof *staying))
            staying[stay_count++] = child;
    }
    printf("started %d in 0 ms\n", count);
}

static void leave(void) {
    for (int at = 0; at < stay_count; at++)
        kill(staying[at], SIGKILL);
    for (int at = 0; at < stay_count; at++)
        waitpid(staying[at], NULL, 0);
    printf("started 0 in 0 ms\n");
    stay_count = 0;
}

int main(void) {
    char line[64], kind[16];
    double rate, seconds;
    int number;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "storm %15s %lf %lf", kind, &rate, &seconds) == 3)
            storm(kind[0], rate, seconds);
        else if (sscanf(line, "stay %d", &number) == 1)
            stay(number);
        else if (!strcmp(line, "leave\n"))
            leave();
        else if (sscanf(line, "request %d", &number) == 1)
            request(number);
    }
    return 0;
}
