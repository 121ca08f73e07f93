/* Quoted names: what Go's %q would show, never more than fits, never half a character. */
#include "check.h"
#include "guard.h"
#include "quote.h"
#include <stdio.h>
#include <string.h>

static const struct row {
    const char *in;
    size_t n;
    const char *out;
} rows[] = {
    {"", 0, "\"\""},
    {"foo.bar", 7, "\"foo.bar\""},
    {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
    {"\a\b\f\n\r\t\v", 7, "\"\\a\\b\\f\\n\\r\\t\\v\""},
    {"a\0b", 3, "\"a\\x00b\""},
    {"\x1f\x7f", 2, "\"\\x1f\\x7f\""},
    {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
    {"\xff\xc3", 2, "\"\\xff\\xc3\""},
    {"\xc0\x80", 2, "\"\\xc0\\x80\""},                   /* overlong */
    {"\xe0\x80\x80", 3, "\"\\xe0\\x80\\x80\""},          /* overlong */
    {"\xed\xa0\x80", 3, "\"\\xed\\xa0\\x80\""},          /* a surrogate */
    {"\xf4\x90\x80\x80", 4, "\"\\xf4\\x90\\x80\\x80\""}, /* beyond the last character */
    {"\xe2\x82", 2, "\"\\xe2\\x82\""},                   /* cut off */
};

int main(void)
{
    struct guard text = guard_new(64), out = guard_new(4096);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *in = guard_put(&text, rows[i].in, rows[i].n);
        size_t whole = strlen(rows[i].out);
        for (size_t room = 8; room < whole + 16; room++) {
            static const char blank[128];
            char *at = guard_put(&out, blank, room);
            size_t n = quote(at, room, in, rows[i].n);
            CHECK(n + 1 <= room && at[n] == 0 && at[0] == '"' && at[n - 1] == '"');
            CHECK(memcmp(at, rows[i].out, n - 1) == 0); /* a beginning of the whole */
            if (room >= whole + 8) CHECK_EQ(n, whole);
        }
    }
    guard_free(&text), guard_free(&out);
    return check_report();
}
