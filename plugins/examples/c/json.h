// Reads a text out of a flat JSON object.

#ifndef JSON_H
#define JSON_H

#include <stddef.h>

// Returns the text with this name in an object of texts, or NULL where there is none. The host has checked the options by the
// plugin's schema: what is not valid JSON never comes here.
char *json_string(const char *object, size_t length, const char *name);

#endif
