// Marks the mail of a campaign: a header field, a tag, the campaign's name in links, and a footer.
//
// Memory is never freed: an instance lives for one message, and goes with all that it has.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "submit_plugin.h" // made of the contract by wit-bindgen

typedef submit_plugin_string_t string;

static const char SCHEMA[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"campaign\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":64,"
    "\"description\":\"Name of the campaign: letters, digits, - and _\"},"
    "\"domain\":{\"type\":\"string\",\"minLength\":1,\"description\":\"Whose links get the name of the campaign\"},"
    "\"footer\":{\"type\":\"string\",\"description\":\"Ends the text and the HTML\"}},"
    "\"required\":[\"campaign\",\"domain\"],\"additionalProperties\":false}";

// A text that grows.
typedef struct {
    char *at;
    size_t length, capacity;
} text;

static void add(text *to, const char *octets, size_t length) {
    if (to->length + length > to->capacity) {
        to->capacity = 2 * (to->length + length);
        to->at = realloc(to->at, to->capacity);
        if (to->at == NULL) abort(); // ends the call: the plugin's `on_error` decides
    }
    memcpy(to->at + to->length, octets, length);
    to->length += length;
}

static void add_text(text *to, const char *octets) { add(to, octets, strlen(octets)); }

static string constant(const char *octets) { return (string){(uint8_t *)octets, strlen(octets)}; }

static string of(const text *text) { return (string){(uint8_t *)text->at, text->length}; }

// Returns where `needle` begins in what is between `from` and `end`, or NULL.
static const char *find(const char *from, const char *end, const char *needle) {
    size_t length = strlen(needle);
    while ((size_t)(end - from) >= length) {
        const char *at = memchr(from, needle[0], (size_t)(end - from) - length + 1);
        if (at == NULL) return NULL;
        if (memcmp(at, needle, length) == 0) return at;
        from = at + 1;
    }
    return NULL;
}

// Returns the end of a link's URL (its fragment, or its quote) if it is of the domain and has no utm_campaign; else NULL.
static const char *marked_url(const char *from, const char *end, const char *domain) {
    const char *quote = memchr(from, '"', (size_t)(end - from));
    if (quote == NULL) return NULL;
    const char *fragment = memchr(from, '#', (size_t)(quote - from));
    const char *url_end = fragment != NULL ? fragment : quote;
    const char *host = find(from, url_end, "://");
    if (host == NULL) return NULL;
    size_t scheme = (size_t)(host - from);
    if (!(scheme == 4 && memcmp(from, "http", 4) == 0) && !(scheme == 5 && memcmp(from, "https", 5) == 0)) return NULL;
    host += 3;
    const char *host_end = host;
    while (host_end < url_end && *host_end != '/' && *host_end != '?') host_end++;
    if ((size_t)(host_end - host) != strlen(domain) || memcmp(host, domain, strlen(domain)) != 0) return NULL;
    return find(from, url_end, "utm_campaign=") == NULL ? url_end : NULL;
}

// Adds utm_campaign to the links of the domain that have none; returns how many that were.
static size_t mark_links(text *to, const char *html, const char *end, const char *campaign, const char *domain) {
    size_t links = 0;
    const char *link;
    while ((link = find(html, end, "href=\"")) != NULL) {
        link += strlen("href=\"");
        add(to, html, (size_t)(link - html));
        html = link;
        const char *url_end = marked_url(link, end, domain);
        if (url_end == NULL) continue;
        add(to, link, (size_t)(url_end - link));
        add_text(to, memchr(link, '?', (size_t)(url_end - link)) != NULL ? "&amp;utm_campaign=" : "?utm_campaign=");
        add_text(to, campaign);
        html = url_end;
        links++;
    }
    add(to, html, (size_t)(end - html));
    return links;
}

// Puts the footer at the end of the body.
static text with_footer(const text *html, const char *footer) {
    text to = {0};
    const char *end = html->at + html->length, *body = end;
    for (const char *at = html->at; (at = find(at, end, "</body>")) != NULL; at++) body = at;
    add(&to, html->at, (size_t)(body - html->at));
    add_text(&to, "<p>");
    for (; *footer != '\0'; footer++) {
        switch (*footer) {
        case '&': add_text(&to, "&amp;"); break;
        case '<': add_text(&to, "&lt;"); break;
        case '>': add_text(&to, "&gt;"); break;
        default: add(&to, footer, 1);
        }
    }
    add_text(&to, "</p>\r\n");
    add(&to, body, (size_t)(end - body));
    return to;
}

void exports_tubepost_mail_plugin_describe(exports_tubepost_mail_plugin_description_t *description) {
    // What is returned is freed by the bindings: no constants here.
    submit_plugin_string_dup(&description->name, "campaign");
    submit_plugin_string_dup(&description->version, "0.1.0");
    submit_plugin_string_dup(&description->summary, "Marks the mail of a campaign.");
    submit_plugin_string_dup(&description->config_schema, SCHEMA);
    description->header_options.len = 0;
}

static bool fail(tubepost_mail_message_edit_error_t *error, exports_tubepost_mail_submit_failure_t *failure) {
    failure->tag = TUBEPOST_MAIL_TYPES_FAILURE_PERMANENT;
    bool says_why = error->tag == TUBEPOST_MAIL_MESSAGE_EDIT_ERROR_DENIED || error->tag == TUBEPOST_MAIL_MESSAGE_EDIT_ERROR_INVALID;
    if (says_why) failure->val.permanent = error->val.denied;
    else submit_plugin_string_dup(&failure->val.permanent, "the message would become too large");
    return false;
}

// Returns whether there is a verdict; else there is a failure.
bool exports_tubepost_mail_submit_process(exports_tubepost_mail_submit_own_message_t own, string *config,
                                          exports_tubepost_mail_submit_verdict_t *verdict,
                                          exports_tubepost_mail_submit_failure_t *failure) {
    tubepost_mail_message_borrow_message_t message = tubepost_mail_message_borrow_message(own);
    tubepost_mail_message_edit_error_t error;
    char *campaign = json_string((char *)config->ptr, config->len, "campaign");
    char *domain = json_string((char *)config->ptr, config->len, "domain");
    char *footer = json_string((char *)config->ptr, config->len, "footer");

    if (campaign == NULL || domain == NULL ||
        strspn(campaign, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != strlen(campaign)) {
        failure->tag = TUBEPOST_MAIL_TYPES_FAILURE_CONFIG;
        submit_plugin_string_dup(&failure->val.config, "campaign: letters, digits, - and _ only");
        return false;
    }
    string name = constant("Subject"), subject;
    if (!tubepost_mail_message_method_message_header(message, &name, &subject)) {
        verdict->tag = TUBEPOST_MAIL_TYPES_VERDICT_REJECT;
        verdict->val.reject.code = 550;
        verdict->val.reject.enhanced.is_some = true;
        submit_plugin_string_dup(&verdict->val.reject.enhanced.val, "5.6.0");
        submit_plugin_string_dup(&verdict->val.reject.text, "a campaign's mail needs a subject");
        return true;
    }
    string field = constant("X-Campaign"), value = constant(campaign);
    if (!tubepost_mail_message_method_message_set_header(message, &field, &value, &error)) return fail(&error, failure);
    if (!tubepost_mail_message_method_message_add_tag(message, &value, &error)) return fail(&error, failure);

    size_t links = 0;
    string html;
    if (tubepost_mail_message_method_message_html(message, &html)) {
        text marked = {0};
        links = mark_links(&marked, (char *)html.ptr, (char *)html.ptr + html.len, campaign, domain);
        if (footer != NULL && *footer != '\0') marked = with_footer(&marked, footer);
        string changed = of(&marked);
        if (!tubepost_mail_message_method_message_set_html(message, &changed, &error)) return fail(&error, failure);
    }
    string plain;
    if (footer != NULL && *footer != '\0' && tubepost_mail_message_method_message_text(message, &plain)) {
        text longer = {0};
        add(&longer, (char *)plain.ptr, plain.len);
        add_text(&longer, "\r\n");
        add_text(&longer, footer);
        add_text(&longer, "\r\n");
        string changed = of(&longer);
        if (!tubepost_mail_message_method_message_set_text(message, &changed, &error)) return fail(&error, failure);
    }
    char line[120];
    snprintf(line, sizeof line, "campaign %s: %zu links", campaign, links);
    string said = constant(line);
    tubepost_mail_log_log(TUBEPOST_MAIL_LOG_LEVEL_INFO, &said);
    verdict->tag = TUBEPOST_MAIL_TYPES_VERDICT_NEXT;
    return true;
}
