/* Fuzz target: however a request's headers are written, the responder finds one Nats-Request-Info in them, the server's, and the frame is
 * as long as its line says. The input: how often it crosses accounts, headers or not, then header block and payload. */
#include "../../csrc/rewrite.h"
#include "fake_client.h"
#include <ctype.h>
#include <stdio.h>

static const char MINE[] = "Nats-Request-Info: {\"acc\":\"$G\"}";

/* A line's name as the most tolerant reader sees it. */
static bool is_info(const char *p, size_t n)
{
    char name[32];
    size_t len = 0;
    for (size_t i = 0; i < n && p[i] != ':'; i++) {
        if (isspace((unsigned char)p[i]) && (!len || p[i] == '\r')) continue;
        if (len == sizeof name) return false;
        name[len++] = (char)tolower((unsigned char)p[i]);
    }
    while (len && isspace((unsigned char)name[len - 1])) len--;
    return memchr(p, ':', n) && len == 17 && memcmp(name, "nats-request-info", 17) == 0;
}

/* Every line is ended by CR LF, and says something. */
static void check_block(const char *p, size_t n)
{
    unsigned found = 0;
    const char *end = p + n;
    if (n < 10 || memcmp(p, "NATS/", 5) != 0 || memcmp(end - 4, "\r\n\r\n", 4) != 0) abort();
    for (const char *at = p; at < end - 2;) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        if (!lf || lf == at || lf[-1] != '\r') abort();
        size_t len = (size_t)(lf - 1 - at);
        if (!len || memchr(at, '\r', len)) abort();
        if (at != p && *at != ' ' && *at != '\t' && !memchr(at, ':', len)) abort();
        if (is_info(at, len)) {
            found++;
            if (len != sizeof MINE - 1 || memcmp(at, MINE, len) != 0 || lf + 3 != end) abort();
        }
        at = lf + 1;
    }
    if (found != 1) abort();
}

static void check_frame(const struct message *m, const char *payload, size_t n)
{
    if (!m->with_headers || m->joined || m->total != m->hdr_len + n || m->body_len != n + 2) abort();
    if (memcmp(m->body, payload, n) != 0 || memcmp(m->body + n, "\r\n", 2) != 0) abort();
    char line[64];
    int len = snprintf(line, sizeof line, "_R_.x %u %zu\r\n", m->hdr_len, m->total);
    if (m->line_len != (uint32_t)len || m->head_len != m->line_len + m->hdr_len ||
        memcmp(m->head, line, m->line_len) != 0)
        abort();
    check_block(message_headers(m), m->hdr_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2 || n > 4096) return 0;
    struct fake f;
    fake_open(&f);
    if (spl_account_label(f.k, 0, "\"$G\"", 4) != 0) abort();
    unsigned hops = 1 + data[0] % 3;
    size_t all = n - 1, headers = data[0] & 128 ? data[0] % 128u * all / 127 : 0;
    char *body = malloc(all + 2), *line = malloc(32);
    if (!body || !line) abort();
    memcpy(body, data + 1, all);
    memcpy(body + all, "\r\n", 2);
    int len = snprintf(line, 32, "in.box %zu\r\n", all);
    struct message m = {.from = f.c,
                        .acc = f.k->accounts[0],
                        .reply = line,
                        .reply_len = 6,
                        .head = line,
                        .head_len = (uint32_t)len,
                        .body = body,
                        .body_len = all + 2,
                        .payload = body,
                        .hdr_len = (uint32_t)headers,
                        .total = all,
                        .with_headers = headers > 0};
    struct asker who = {.client = f.c, .acc = f.c->acc};
    struct text heads[3];
    for (unsigned i = 0; i < hops; i++) {
        text_init(&heads[i]);
        if (!rewrite_request(f.k, &m, "_R_.x", 5, &who, &heads[i])) abort();
        check_frame(&m, body + headers, all - headers);
    }
    struct text back;
    text_init(&back);
    struct message answer = m;
    if (!rewrite_reply(&answer, "", 0, &back) || answer.hdr_len != m.hdr_len || answer.reply_len != 0) abort();
    if (memcmp(message_headers(&answer), message_headers(&m), m.hdr_len) != 0) abort();
    text_free(&back);
    for (unsigned i = 0; i < hops; i++) text_free(&heads[i]);
    free(body);
    free(line);
    fake_close(&f);
    return 0;
}
