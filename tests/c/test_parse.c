/* The parser's behaviour on malformed and unusual lines, and its indifference to how the input is cut.
 * Each row: what is sent to a fresh, unauthenticated, verbose client; what comes back; whether the connection is closed. */
#include "fake_client.h"
#include <stdio.h>

#define UNKNOWN "-ERR 'Unknown Protocol Operation'\r\n"
#define QUIET "CONNECT {}\r\n"

static const struct row {
    const char *in, *out;
    bool closed;
} rows[] = {
    {"PING\r\n", "PONG\r\n", false},
    {"ping\n", "PONG\r\n", false},
    {"PINGxyz  \r\n", "PONG\r\n", false},
    {"PONG\r\n+OK\r\nINFO {}\r\n", "", false},
    {"PUX foo\r\n", UNKNOWN, true},
    {"\r\n", UNKNOWN, true},
    {" PING\r\n", UNKNOWN, true},
    {"PUB\r\n", UNKNOWN, true},
    {"UNSUB\r\n", UNKNOWN, true},
    {"MSG foo 1 1\r\n", UNKNOWN, true},
    {"RS+ foo\r\n", UNKNOWN, true},
    {"-ERR x\r\n", "", true},
    {"PUB foo\r\n\r\n", "", true},
    {"PUB a b c 1\r\n", "", true},
    {"PUB foo abc\r\n", "", true},
    {"PUB foo -1\r\n", "", true},
    {"PUB foo 1234567890\r\n", "", true},
    {"PUB foo 4097\r\n", "-ERR 'Maximum Payload Violation'\r\n", true},
    {"PUB foo 1\r\nab\r\n", UNKNOWN, true},
    {"PUB foo 3\r\na\r\nx\r\n", UNKNOWN, true},
    {"HPUB foo 1 1\r\na\r\n", "", true}, /* no header support before CONNECT */
    {QUIET "HPUB foo 5 2\r\n", "", true},
    {QUIET "HPUB foo 2\r\n", "", true},
    {"SUB foo\r\n", "", true},
    {"SUB a b c d\r\n", "", true},
    {"UNSUB \r\n", "", true},
    {"UNSUB 1 2 3\r\n", "", true},
    {"SUB a..b 1\r\nSUB .a 1\r\nSUB a. 1\r\nSUB a.>.b 1\r\n",
     "-ERR 'Invalid Subject'\r\n-ERR 'Invalid Subject'\r\n-ERR 'Invalid Subject'\r\n-ERR 'Invalid Subject'\r\n", false},
    {"SUB foo _sys_ 1\r\n", "-ERR 'Permissions Violation for Subscription to \"foo\" using queue \"_sys_\"'\r\n",
     false},
    {"SUB foo 1\r\nPUB foo 2\r\nhi\r\n", "+OK\r\n+OK\r\nMSG foo 1 2\r\nhi\r\n", false},
    {QUIET "SUB foo 1\r\nPUB foo 002\r\nhi\r\n", "MSG foo 1 002\r\nhi\r\n", false},
    {QUIET "sub\tfoo  1 \r\npub foo \t reply  2 \nhi\r\n", "MSG foo 1 reply 2\r\nhi\r\n", false},
    {QUIET "SUB foo* 1\r\nPUB foo* 0\r\n\r\nPUB foox 0\r\n\r\n", "MSG foo* 1 0\r\n\r\n", false},
    {QUIET "SUB > 1\r\nPUB a..b 0\r\n\r\nPUB foo.* 0\r\n\r\n", "MSG foo.* 1 0\r\n\r\n", false},
    {"SUB foo.* 1\r\nPUB foo.* 1\r\nx\r\n", "+OK\r\n-ERR 'Invalid Publish Subject'\r\n+OK\r\nMSG foo.* 1 1\r\nx\r\n",
     false},
    {QUIET "SUB foo 1\r\nSUB bar 1\r\nPUB bar 0\r\n\r\nPUB foo 0\r\n\r\n", "MSG foo 1 0\r\n\r\n", false},
    {QUIET "SUB foo 1\r\nUNSUB 1 2\r\nPUB foo 0\r\n\r\nPUB foo 0\r\n\r\nPUB foo 0\r\n\r\n",
     "MSG foo 1 0\r\n\r\nMSG foo 1 0\r\n\r\n", false},
    {QUIET "SUB foo 1\r\nUNSUB 1 1\r\nPUB foo 0\r\n\r\nSUB bar 1\r\nPUB bar 0\r\n\r\n",
     "MSG foo 1 0\r\n\r\nMSG bar 1 0\r\n\r\n", false},
    {QUIET "SUB foo 1\r\nUNSUB 1 -5\r\nPUB foo 0\r\n\r\n", "", false},
    {QUIET "SUB q.* g 1\r\nSUB q.> g 2\r\nUNSUB 2\r\nPUB q.x 0\r\n\r\n", "MSG q.x 1 0\r\n\r\n", false},
    {QUIET "SUB foo 1\r\nHPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "HMSG foo 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
     false},
    {QUIET "SUB foo 1\r\nHPUB foo r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "HMSG foo 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
     false},
    {QUIET "SUB foo 1\r\nHPUB foo 0 2\r\nhi\r\n", "MSG foo 1 2\r\nhi\r\n", false},
    {QUIET "SUB r.* 7\r\nPUB foo r.1 0\r\n\r\nPING\r\n",
     "HMSG r.1 7 35 35\r\nNATS/1.0 503\r\nNats-Subject: foo\r\n\r\n\r\nPONG\r\n", false},
    {QUIET "SUB r.* q 7\r\nPUB foo r.1 0\r\n\r\nPING\r\n", "PONG\r\n", false},
    {QUIET "PUB foo _R_.x 0\r\n\r\n", "-ERR 'Permissions Violation for Publish with Reply of \"_R_.x\"'\r\n", false},
    {QUIET "PUB _GR_.x 0\r\n\r\n", "-ERR 'Permissions Violation for Publish to \"_GR_.x\"'\r\n", false},
};

static int passed, failed;

static void check(const struct row *r, size_t cut, size_t step)
{
    struct fake f;
    fake_open(&f);
    size_t n = strlen(r->in), got;
    for (size_t at = 0; at < n && !f.c->closed;) {
        size_t piece = at == 0 && cut ? cut : step ? step : n;
        if (piece > n - at) piece = n - at;
        fake_feed(&f, r->in + at, piece);
        at += piece;
    }
    char *out = fake_output(&f, &got);
    if (got == strlen(r->out) && memcmp(out, r->out, got) == 0 && f.c->closed == r->closed) {
        passed++;
    } else {
        failed++;
        fprintf(stderr, "input  %s\nwanted %s (%d)\ngot    %.*s (%d), cut %zu step %zu\n", r->in, r->out, r->closed,
                (int)got, out, f.c->closed, cut, step);
    }
    free(out);
    fake_close(&f);
}

static void control_line_limit(void)
{
    char line[600];
    for (int over = 0; over < 2; over++) {
        size_t n = 512 - 2 + (size_t)over; /* "<subject> 1" is 512 or 513 bytes */
        memcpy(line, "SUB ", 4);
        memset(line + 4, 'a', n);
        strcpy(line + 4 + n, " 1\r\n");
        struct row r = {line, over ? "-ERR 'maximum control line exceeded'\r\n" : "+OK\r\n", over};
        check(&r, 0, 0);
        check(&r, 0, 1);
    }
}

/* A sid may be as long as the line allows. */
static void long_sid(void)
{
    char sid[400], in[2000], out[1000];
    memset(sid, 's', sizeof sid - 1);
    sid[sizeof sid - 1] = 0;
    snprintf(in, sizeof in, "%sSUB foo %s\r\nPUB foo 2\r\nhi\r\nUNSUB %s\r\nPUB foo 2\r\nho\r\n", QUIET, sid, sid);
    snprintf(out, sizeof out, "MSG foo %s 2\r\nhi\r\n", sid);
    struct row r = {in, out, false};
    check(&r, 0, 0);
    check(&r, 0, 1);
}

/* So many blanks before the arguments are refused, however they come. */
static void blanks(void)
{
    static char in[6000];
    for (int over = 0; over < 2; over++) {
        int n = sprintf(in, "PUB%*sfoo 0\r\n\r\n", 4093 + over, "");
        struct row r = {in, over ? UNKNOWN : "+OK\r\n", over};
        check(&r, 0, 0);
        check(&r, (size_t)n - 4, 0);
        check(&r, 4000, 1000);
    }
}

int main(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        check(&rows[i], 0, 0);
        check(&rows[i], 0, 1);
        for (size_t cut = 1; cut < strlen(rows[i].in); cut++) check(&rows[i], cut, 0);
    }
    control_line_limit();
    long_sid();
    blanks();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
