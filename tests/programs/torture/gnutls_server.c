// Answers as a request's target says (/s/STATUS/BYTES/DELAY/SHAPE/NUMBER): HTTP/1.1 over GnuTLS with a thread per connection.
// `gnutls_server CERTIFICATE KEY` prints its port. Heads are read and answers sent by several of the library's functions, as the
// request's number says.
#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { PIECE = 7000, ROOM = 65536 };

static gnutls_certificate_credentials_t credentials;
static char payload[1000000];

struct input {
  gnutls_session_t session;
  size_t at, end;
  char bytes[ROOM];
};

// Reads more; whether there was any.
static int more(struct input *in) {
  memmove(in->bytes, in->bytes + in->at, in->end - in->at);
  in->end -= in->at;
  in->at = 0;
  ssize_t count;
  do count = gnutls_record_recv(in->session, in->bytes + in->end, ROOM - 1 - in->end);
  while (count == GNUTLS_E_AGAIN || count == GNUTLS_E_INTERRUPTED);
  if (count <= 0) return 0;
  in->end += count;
  in->bytes[in->end] = 0;
  return 1;
}

// The next line, without its end; NULL at the end of the connection.
static char *line(struct input *in) {
  for (;;) {
    in->bytes[in->end] = 0;
    char *start = in->bytes + in->at, *end = strstr(start, "\r\n");
    if (end) {
      *end = 0;
      in->at += end + 2 - start;
      return start;
    }
    if (!more(in)) return NULL;
  }
}

static int skip(struct input *in, size_t count) {
  for (;;) {
    size_t here = in->end - in->at < count ? in->end - in->at : count;
    in->at += here;
    count -= here;
    if (!count) return 1;
    if (!more(in)) return 0;
  }
}

static int send_all(gnutls_session_t session, const char *bytes, size_t count) {
  while (count) {
    ssize_t sent = gnutls_record_send(session, bytes, count);
    if (sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED) continue;
    if (sent < 0) return 0;
    bytes += sent;
    count -= sent;
  }
  return 1;
}

static int answer(gnutls_session_t session, int is_head, int status, size_t count, int delay, char shape, unsigned long number) {
  char head[200];
  if (delay) usleep(delay * 1000);
  int is_corked = number % 3 == 1, has_body = status != 204 && status != 304 && !is_head;
  if (shape == 'w' || !has_body) {
    int length = status == 204 || status == 304 ? snprintf(head, sizeof head, "HTTP/1.1 %d So\r\n\r\n", status)
                                                : snprintf(head, sizeof head, "HTTP/1.1 %d So\r\nContent-Length: %zu\r\n\r\n", status, count);
    if (is_corked) gnutls_record_cork(session);
    int is_well = send_all(session, head, length) && (!has_body || send_all(session, payload, count));
    if (is_corked) is_well &= gnutls_record_uncork(session, GNUTLS_RECORD_WAIT) >= 0;
    return is_well;
  }
  int length = snprintf(head, sizeof head, "HTTP/1.1 %d So\r\nTransfer-Encoding: chunked\r\n\r\n", status);
  if (!send_all(session, head, length)) return 0;
  size_t size = shape == 's' && (count + 7) / 8 > PIECE ? (count + 7) / 8 : PIECE;
  while (count) {
    size_t piece = count < size ? count : size;
    length = snprintf(head, sizeof head, "%zx\r\n", piece);
    if (is_corked) gnutls_record_cork(session);
    if (!send_all(session, head, length) || !send_all(session, payload, piece) || !send_all(session, "\r\n", 2)) return 0;
    if (is_corked && gnutls_record_uncork(session, GNUTLS_RECORD_WAIT) < 0) return 0;
    if (shape == 's') usleep(2000);
    count -= piece;
  }
  return send_all(session, "0\r\n\r\n", 5);
}

static void answers(struct input *in) {
  for (;;) {
    char *text = line(in), method[8], shape;
    int status, delay;
    size_t count;
    unsigned long number;
    if (!text || sscanf(text, "%7s /s/%d/%zu/%d/%c/%lu", method, &status, &count, &delay, &shape, &number) != 6) return;
    size_t length = 0;
    int is_chunked = 0;
    while ((text = line(in)) && *text) {
      if (!strncasecmp(text, "content-length:", 15)) length = strtoul(text + 15, NULL, 10);
      if (!strncasecmp(text, "transfer-encoding: chunked", 26)) is_chunked = 1;
    }
    if (!text || !skip(in, length)) return;
    while (is_chunked) {
      if (!(text = line(in))) return;
      size_t piece = strtoul(text, NULL, 16);
      if (!skip(in, piece) || !line(in)) return;
      is_chunked = piece > 0;
    }
    if (count > sizeof payload || !answer(in->session, !strcmp(method, "HEAD"), status, count, delay, shape, number)) return;
  }
}

static void *serve(void *argument) {
  int one = 1, socket = (intptr_t)argument, result;
  struct input *in = calloc(1, sizeof *in);
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  gnutls_init(&in->session, GNUTLS_SERVER);
  gnutls_set_default_priority(in->session);
  gnutls_credentials_set(in->session, GNUTLS_CRD_CERTIFICATE, credentials);
  gnutls_transport_set_int(in->session, socket);
  do result = gnutls_handshake(in->session);
  while (result < 0 && !gnutls_error_is_fatal(result));
  if (result == 0) {
    answers(in);
    gnutls_bye(in->session, GNUTLS_SHUT_WR);
  }
  gnutls_deinit(in->session);
  close(socket);
  free(in);
  return NULL;
}

static void *until_input_ends(void *argument) {
  char byte;
  while (read(0, &byte, 1) > 0) {}
  _exit(0);
  return argument;
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  signal(SIGPIPE, SIG_IGN);
  memset(payload, 'a', sizeof payload);
  gnutls_certificate_allocate_credentials(&credentials);
  if (gnutls_certificate_set_x509_key_file(credentials, arguments[1], arguments[2], GNUTLS_X509_FMT_PEM) < 0) return 1;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1000)) return 1;
  getsockname(listener, (struct sockaddr *)&address, &length);
  printf("listening %d\n", ntohs(address.sin_port));
  fflush(stdout);
  pthread_t thread;
  pthread_create(&thread, NULL, until_input_ends, NULL);
  for (;;) {
    int socket = accept(listener, NULL, NULL);
    if (socket < 0) continue;
    if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)socket)) return 1;
    pthread_detach(thread);
  }
}
