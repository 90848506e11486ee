#include "json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static uint32_t hexadecimal(const char *digits) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = digits[i];
        value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static char *utf8(char *to, uint32_t c) {
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

// Decodes the text that begins behind the quote at *at, and moves *at behind its end. No decoded text is longer than it is written.
static char *decoded(const char **at, const char *end) {
    char *text = malloc((size_t)(end - *at) + 1), *to = text;
    if (text == NULL) abort();
    while (*at < end && **at != '"') {
        char c = *(*at)++;
        if (c != '\\') {
            *to++ = c;
            continue;
        }
        switch (c = *(*at)++) {
        case 'b': *to++ = '\b'; break;
        case 'f': *to++ = '\f'; break;
        case 'n': *to++ = '\n'; break;
        case 'r': *to++ = '\r'; break;
        case 't': *to++ = '\t'; break;
        case 'u': {
            uint32_t unit = hexadecimal(*at);
            *at += 4;
            if (unit >= 0xd800 && unit < 0xdc00) { // the first half of a pair: \ud83d\ude00
                unit = 0x10000 + ((unit - 0xd800) << 10) + (hexadecimal(*at + 2) - 0xdc00);
                *at += 6;
            }
            to = utf8(to, unit);
            break;
        }
        default: *to++ = c;
        }
    }
    ++*at;
    *to = '\0';
    return text;
}

char *json_string(const char *object, size_t length, const char *name) {
    const char *at = object, *end = object + length;
    while ((at = memchr(at, '"', (size_t)(end - at))) != NULL) {
        at++;
        char *key = decoded(&at, end);
        at = memchr(at, '"', (size_t)(end - at));
        if (at == NULL) return NULL;
        at++;
        char *value = decoded(&at, end);
        if (strcmp(key, name) == 0) return value;
    }
    return NULL;
}
