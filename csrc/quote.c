/* Text for people: names from clients may hold any byte, error lines and logs must not. */
#include "quote.h"
#include <string.h>

/* The length of the well-formed UTF-8 sequence at s, 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    size_t len = s[0] < 0x80                   ? 1
                 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                 : (s[0] & 0xf0) == 0xe0       ? 3
                 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                               : 0;
    if (!len || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

size_t quote(char *out, size_t room, const char *text, size_t n)
{
    static const char hex[] = "0123456789abcdef", from[] = "\a\b\f\n\r\t\v\"\\", to[] = "abfnrtv\"\\";
    const unsigned char *s = (const unsigned char *)text;
    char *w = out, *end = out + room - 2; /* the closing quote and the zero */
    *w++ = '"';
    for (size_t i = 0; i < n;) {
        size_t len = utf8_length(s + i, n - i);
        const char *named = s[i] ? strchr(from, s[i]) : NULL;
        if (end - w < 4) break;
        if (named) {
            *w++ = '\\', *w++ = to[named - from];
            i++;
        } else if (len && s[i] >= 0x20 && s[i] != 0x7f) {
            memcpy(w, s + i, len);
            w += len, i += len;
        } else {
            *w++ = '\\', *w++ = 'x', *w++ = hex[s[i] >> 4], *w++ = hex[s[i] & 15];
            i++;
        }
    }
    *w++ = '"';
    *w = 0;
    return (size_t)(w - out);
}
