/* rewrite.c: see rewrite.h.
 *
 * The header is Nats-Request-Info, JSON in a fixed order of fields. Whatever a client says in a header of that name is removed, in any
 * spelling that some library would accept, so that a service may believe it. (nats-server removes the exact name alone.)
 */
#include "rewrite.h"
#include "service.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static const char NAME[] = "Nats-Request-Info";
#define NAME_LEN (sizeof NAME - 1)
static const char VERSION[] = "NATS/1.0\r\n";
#define VERSION_LEN (sizeof VERSION - 1)

/* Where the headers are: behind the line if they were rewritten before, else at the start of the payload. */
const char *message_headers(const struct message *m) { return m->line_len ? m->head + m->line_len : m->payload; }

static size_t data_len(const struct message *m) { return m->total - (m->with_headers ? m->hdr_len : 0); }

#define LINE_ROOM (2 * NUMBER_MAX + 4) /* bytes, and the reply */

/* What follows the subscription's number in the control line. */
static char *put_line(char *w, const char *reply, size_t n, bool with_headers, size_t headers, size_t total)
{
    if (n) {
        w = put(w, reply, n);
        *w++ = ' ';
    }
    if (with_headers) {
        w = put_number(w, headers);
        *w++ = ' ';
    }
    w = put_number(w, total);
    *w++ = '\r', *w++ = '\n';
    return w;
}

/* What a reader may take for white space around a name. */
static bool blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Would anybody read this line as our header? Some readers trim names, some know no difference of case. */
static bool forged(const char *p, size_t n)
{
    const char *end = p + n;
    while (p < end && blank(*p)) p++;
    if ((size_t)(end - p) < NAME_LEN || strncasecmp(p, NAME, NAME_LEN) != 0) return false;
    p += NAME_LEN;
    while (p < end && blank(*p)) p++;
    return p < end && *p == ':';
}

/* A carriage return within a line is the end of one to some readers. */
static void copy_line(struct text *out, const char *p, size_t n)
{
    for (const char *cr; (cr = memchr(p, '\r', n)); n -= (size_t)(cr + 1 - p), p = cr + 1) {
        text_add(out, p, (size_t)(cr - p));
        text_add(out, " ", 1);
    }
    text_add(out, p, n);
    text_add(out, "\r\n", 2);
}

/* Copy the header lines but for those that are forged, and so that whatever is appended is a header for every reader: each line ended,
 * none of them blank, nor one that is no header. */
static void copy_headers(struct text *out, const char *p, size_t n)
{
    const char *start = p, *end = p + n;
    bool skipping = false, status = n >= 5 && memcmp(p, "NATS/", 5) == 0;
    if (!status) text_add(out, "NATS/1.0\r\n", 10);
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p)), *stop = lf ? lf : end, *text = p;
        bool continues = *p == ' ' || *p == '\t';
        while (stop > p && stop[-1] == '\r') stop--;
        while (text < stop && blank(*text)) text++;
        bool says = text < stop && (continues || (status && p == start) || memchr(p, ':', (size_t)(stop - p)));
        if (!says) /* some readers would stop here */
            skipping &= continues;
        else if (forged(p, (size_t)(stop - p)))
            skipping = true;
        else if (!continues || !skipping)
            skipping = false, copy_line(out, p, (size_t)(stop - p));
        p = lf ? lf + 1 : end;
    }
}

static void add(struct text *out, const char *s) { text_add(out, s, strlen(s)); }

/* The moment a connection began, as JSON. */
static void start_time(struct text *out, int64_t ns)
{
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm at;
    char s[48];
    if (!gmtime_r(&seconds, &at)) return;
    size_t n = strftime(s, sizeof s, "\"start\":\"%Y-%m-%dT%H:%M:%S", &at);
    text_add(out, s, n);
    int m = snprintf(s, sizeof s, ".%09d", (int)(ns % 1000000000));
    while (m > 0 && s[m - 1] == '0') m--;
    if (m == 1) m = 0;
    text_add(out, s, (size_t)m);
    add(out, "Z\",");
}

/* What its connection shows of a client. */
static void connection(struct text *out, const struct conn *c)
{
    char ip[48];
    conn_ip(c, ip);
    start_time(out, c->start_ns);
    if (*ip) add(out, "\"host\":\""), add(out, ip), add(out, "\",");
    add(out, "\"id\":");
    text_number(out, c->cid);
    add(out, ",");
}

static void info(struct text *out, const char *before, const struct core *k, const struct asker *who,
                 const char *behind)
{
    const struct conn *c = who->client;
    bool share = who->tell == TELL_ALL && c && c->cid;
    add(out, before);
    if (share) connection(out, c);
    add(out, "\"acc\":");
    text_add(out, who->acc->label, who->acc->label_len);
    if (who->via) {
        add(out, ",\"svc\":");
        text_add(out, who->via->label, who->via->label_len);
    }
    if (share && c->identity_len)
        text_add(out, c->identity, c->identity_len); /* nothing of one that never said CONNECT */
    if (c && c->rtt_ns) {
        add(out, ",\"rtt\":");
        text_number(out, c->rtt_ns);
    }
    if (share || who->tell == TELL_SERVER) text_add(out, k->where, k->where_len);
    if (share) add(out, ",\"kind\":\"Client\",\"client_type\":\"nats\"");
    add(out, behind);
}

void client_info(struct text *out, const struct core *k, const struct conn *c, bool share)
{
    struct asker who = {.client = c, .acc = c->acc, .tell = share ? TELL_ALL : TELL_ACCOUNT};
    info(out, "{", k, &who, "}");
}

void requestor_info(struct text *out, const struct core *k, const struct message *m, bool share)
{
    struct asker who = {.client = m->from, .acc = message_origin(m), .tell = share ? TELL_ALL : TELL_ACCOUNT};
    info(out, "{", k, &who, "}");
}

/* The client that asked last: one who asks once asks again, and often as much. */
struct last_asker {
    struct asker who;
    uint64_t handle, rtt_ns;
    size_t data, line_len; /* of the request; of the line for it, which ends where the headers begin */
    struct text
        text; /* LINE_ROOM bytes that end with the line, then the headers, all there are if it had none of its own */
};

void rewrite_forget_asker(struct core *k)
{
    if (!k->last_asker) return;
    text_free(&k->last_asker->text);
    free(k->last_asker);
    k->last_asker = NULL;
}

static uint64_t handle_of(const struct asker *who)
{
    return likely(who->client != NULL) ? conn_handle(who->client) : 0;
}
static uint64_t rtt_of(const struct asker *who) { return likely(who->client != NULL) ? who->client->rtt_ns : 0; }

static bool is_same(const struct last_asker *l, const struct asker *who)
{
    return l->handle == handle_of(who) && l->rtt_ns == rtt_of(who) && l->who.acc == who->acc &&
           l->who.via == who->via && l->who.tell == who->tell;
}

static struct last_asker *meet(struct core *k, const struct asker *who)
{
    static const char room[LINE_ROOM];
    struct last_asker *l = k->last_asker;
    if (!l) {
        l = k->last_asker = malloc(sizeof *l);
        if (!l) return NULL;
        text_init(&l->text);
    }
    l->who = *who, l->handle = handle_of(who), l->rtt_ns = rtt_of(who);
    l->data = SIZE_MAX;
    text_set(&l->text, room, LINE_ROOM);
    add(&l->text, VERSION);
    info(&l->text, "Nats-Request-Info: {", k, who, "}\r\n\r\n");
    if (!l->text.failed) return l;
    rewrite_forget_asker(k);
    return NULL;
}

/* NULL: out of memory. */
static inline struct last_asker *last_asker(struct core *k, const struct asker *who)
{
    struct last_asker *l = k->last_asker;
    return likely(l && is_same(l, who)) ? l : meet(k, who);
}

static bool point(struct message *m, const struct text *head, size_t line_len, size_t reply_len)
{
    if (head->failed || head->len > UINT32_MAX) return false;
    size_t data = data_len(m);
    m->body += m->body_len - 2 - data;
    m->body_len = data + 2;
    m->head = head->p, m->head_len = (uint32_t)head->len;
    m->line_len = head->len > line_len ? (uint32_t)line_len : 0;
    m->payload = m->body; /* of the data alone */
    m->reply = head->p, m->reply_len = (uint32_t)reply_len;
    m->joined = false;
    return true;
}

/* A request that has headers: ours follow them. */
static bool append_info(struct message *m, const char *reply, size_t n, const struct last_asker *l, struct text *head)
{
    const char *info = l->text.p + LINE_ROOM + VERSION_LEN;
    size_t info_len = l->text.len - LINE_ROOM - VERSION_LEN, line_len = 0;
    struct text own;
    text_init(&own);
    copy_headers(&own, message_headers(m), m->hdr_len);
    size_t headers = own.len + info_len, total = headers + data_len(m);
    char *w = own.failed ? NULL : text_room(head, n + LINE_ROOM + headers);
    if (w) {
        w = put_line(w, reply, n, true, headers, total);
        line_len = (size_t)(w - head->p);
        w = put(w, own.p, own.len);
        w = put(w, info, info_len);
        head->len = (size_t)(w - head->p);
    }
    text_free(&own);
    if (!w || !point(m, head, line_len, n)) return false;
    m->hdr_len = (uint32_t)headers, m->total = total;
    return true;
}

bool rewrite_request(struct core *k, struct message *m, const char *reply, size_t n, const struct asker *who,
                     struct text *head)
{
    if (!k->cfg.headers) return rewrite_reply(m, reply, n, head);
    struct last_asker *l = last_asker(k, who);
    if (!l) return false;
    if (m->with_headers) return append_info(m, reply, n, l, head);
    size_t headers = l->text.len - LINE_ROOM, total = headers + m->total;
    if (l->data != m->total) {
        char line[LINE_ROOM];
        l->data = m->total, l->line_len = (size_t)(put_line(line, "", 0, true, headers, total) - line);
        memcpy(l->text.p + LINE_ROOM - l->line_len, line, l->line_len);
    }
    size_t len = l->line_len + headers;
    char *w = text_room(head, n + 1 + len);
    if (!w) return false;
    if (n) {
        w = put(w, reply, n);
        *w++ = ' ';
    }
    head->len = (size_t)(put(w, l->text.p + LINE_ROOM - l->line_len, len) - head->p);
    if (!point(m, head, head->len - headers, n)) return false;
    m->with_headers = true, m->hdr_len = (uint32_t)headers, m->total = total;
    return true;
}

bool rewrite_headers(struct message *m, const struct text *headers, struct text *head)
{
    size_t total = headers->len + data_len(m);
    char *w = headers->failed ? NULL : text_room(head, m->reply_len + LINE_ROOM + headers->len);
    if (!w) return false;
    w = put_line(w, m->reply, m->reply_len, true, headers->len, total);
    size_t line_len = (size_t)(w - head->p);
    head->len = (size_t)(put(w, headers->p, headers->len) - head->p);
    if (!point(m, head, line_len, m->reply_len)) return false;
    m->with_headers = true, m->hdr_len = (uint32_t)headers->len, m->total = total;
    return true;
}

bool rewrite_reply(struct message *m, const char *reply, size_t n, struct text *head)
{
    size_t headers = m->with_headers ? m->hdr_len : 0;
    char *w = text_room(head, n + LINE_ROOM + headers);
    if (!w) return false;
    w = put_line(w, reply, n, m->with_headers, headers, m->total);
    size_t line_len = (size_t)(w - head->p);
    if (m->with_headers) w = put(w, message_headers(m), headers);
    head->len = (size_t)(w - head->p);
    return point(m, head, line_len, n);
}
