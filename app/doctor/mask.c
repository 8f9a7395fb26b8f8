#include "mask.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A value and its placeholder. */
struct value {
    const char *kind;
    char *text; /* lower case, a MAC address without separators */
    int number;
    bool learnt;
};

struct doctor_mask {
    struct value *values;
    size_t count;
    bool no_memory;
};

/* What is written, and where the reading is. */
struct output {
    struct doctor_mask *mask;
    char *text;
    size_t length, capacity;
};

static const char *const kinds[] = {"mac",  "ip",   "uuid",   "serial", "host",
                                    "user", "ssid", "secret", "key"};

/* Names of values in `name=value` and `name: value`. */
static const struct {
    const char *name, *kind;
} secret_names[] = {
    {"password", "secret"},
    {"passwd", "secret"},
    {"pass", "secret"},
    {"pwd", "secret"},
    {"passphrase", "secret"},
    {"wpa_passphrase", "secret"},
    {"psk", "secret"},
    {"wpa_psk", "secret"},
    {"key", "secret"},
    {"wep_key", "secret"},
    {"wep_key0", "secret"},
    {"api_key", "secret"},
    {"apikey", "secret"},
    {"token", "secret"},
    {"secret", "secret"},
    {"serial", "serial"},
    {"serialno", "serial"},
    {"serialnumber", "serial"},
    {"serial_number", "serial"},
    {"serial-number", "serial"},
    {"machine_id", "serial"},
    {"ssid", "ssid"},
    {"essid", "ssid"},
    {"hostname", "host"},
    {"nfsroot", "host"},
    {"nfsaddrs", "host"},
    {"ip", "host"},
    {"user", "user"},
    {"username", "user"},
    {"login", "user"},
    {"mac", "mac"},
    {"macaddr", "mac"},
    {"mac_addr", "mac"},
    {"hwaddr", "mac"},
    {"ethaddr", "mac"},
    {"eth1addr", "mac"},
    {"wifiaddr", "mac"},
    {"bdaddr", "mac"},
    {"wifimacaddr", "mac"},
    {"btmacaddr", "mac"},
};

/* Names of many boards, and words of our own results. */
static const char *const common_words[] = {
    "root",  "pico",    "luckfox",     "localhost", "buildroot", "linux", "rockchip", "npu",
    "cpu",   "bench",   "runner",      "doctor",    "note",      "error", "problem",  "none",
    "int8",  "float32", "performance", "schedutil", "yes",       "exact", "wrong",    "failed",
    "board", "image",   "oem",         "userdata",  "rootfs",    "boot",  "ondemand", "unknown",
};

struct doctor_mask *doctor_mask_new(void) {
    return calloc(1, sizeof(struct doctor_mask));
}

void doctor_mask_free(struct doctor_mask *mask) {
    if (mask == NULL)
        return;
    for (size_t i = 0; i < mask->count; i++)
        free(mask->values[i].text);
    free(mask->values);
    free(mask);
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

static bool is_hex(char c) {
    return isxdigit((unsigned char)c) != 0;
}

static const char *known_kind(const char *kind) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i], kind) == 0)
            return kinds[i];
    }
    return "secret";
}

/* The value, known or new; NULL without memory. */
static struct value *value_of(struct doctor_mask *mask, const char *kind, const char *text,
                              size_t length) {
    char *plain = malloc(length + 1);
    size_t used = 0;
    int number = 1;

    if (plain == NULL)
        return NULL;
    for (size_t i = 0; i < length; i++) {
        if (strcmp(kind, "mac") != 0 || is_hex(text[i]))
            plain[used++] = (char)tolower((unsigned char)text[i]);
    }
    plain[used] = '\0';
    for (size_t i = 0; i < mask->count; i++) {
        struct value *value = &mask->values[i];
        if (strcmp(value->text, plain) == 0 && (value->learnt || strcmp(value->kind, kind) == 0)) {
            free(plain);
            return value;
        }
        number += strcmp(value->kind, kind) == 0;
    }
    struct value *values = realloc(mask->values, (mask->count + 1) * sizeof *values);
    if (values == NULL) {
        free(plain);
        return NULL;
    }
    mask->values = values;
    values[mask->count] = (struct value){known_kind(kind), plain, number, false};
    return &values[mask->count++];
}

void doctor_mask_learn(struct doctor_mask *mask, const char *kind, const char *value) {
    size_t length = strlen(value);

    if (length < 3 || strncmp(value, "luckfox-pico", 12) == 0)
        return;
    for (size_t i = 0; i < sizeof common_words / sizeof common_words[0]; i++) {
        if (strcasecmp(common_words[i], value) == 0)
            return;
    }
    struct value *known = value_of(mask, kind, value, length);
    if (known == NULL)
        mask->no_memory = true;
    else
        known->learnt = true;
}

static void put(struct output *out, const char *text, size_t length) {
    if (out->length + length + 1 > out->capacity) {
        size_t capacity = (out->length + length + 1) * 2;
        char *grown = realloc(out->text, capacity);
        if (grown == NULL) {
            out->mask->no_memory = true;
            return;
        }
        out->text = grown;
        out->capacity = capacity;
    }
    memcpy(out->text + out->length, text, length);
    out->length += length;
    out->text[out->length] = '\0';
}

/* The length of a placeholder at `at`, 0 if there is none. */
static size_t placeholder(const char *at) {
    if (*at != '<')
        return 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t length = strlen(kinds[i]);
        if (strncmp(at + 1, kinds[i], length) != 0 || at[1 + length] != '-')
            continue;
        const char *digits = at + length + 2;
        size_t count = strspn(digits, "0123456789");
        if (count > 0 && digits[count] == '>')
            return length + 2 + count + 1;
    }
    return 0;
}

static void put_masked(struct output *out, const char *kind, const char *text, size_t length) {
    char word[40];

    if (length == 0)
        return;
    if (placeholder(text) == length) {
        put(out, text, length);
        return;
    }
    const struct value *value = value_of(out->mask, kind, text, length);
    if (value == NULL) {
        out->mask->no_memory = true;
        return;
    }
    int size = snprintf(word, sizeof word, "<%s-%d>", value->kind, value->number);
    put(out, word, (size_t)size);
}

/* -- forms. Each takes the text and a place in it, writes what it masks, and returns how many
 * bytes it took, 0 for "not mine". */

static bool starts_word(const char *text, const char *at) {
    return at == text || !is_word(at[-1]);
}

static size_t ipv4(struct output *out, const char *text, const char *at) {
    const char *end = at;

    if (!starts_word(text, at) || (at > text && at[-1] == '.' && at - 1 > text && is_word(at[-2])))
        return 0;
    for (int part = 0; part < 4; part++) {
        size_t digits = strspn(end, "0123456789");
        if (digits == 0 || digits > 3 || strtol(end, NULL, 10) > 255)
            return 0;
        end += digits;
        if (part < 3 && *end++ != '.')
            return 0;
    }
    if (is_word(*end) || (*end == '.' && isdigit((unsigned char)end[1])))
        return 0;
    put_masked(out, "ip", at, (size_t)(end - at));
    return (size_t)(end - at);
}

/* Groups of hexadecimal digits with colons: MAC and IPv6 addresses. Times (12:34:56) and PCI
 * addresses (0000:00:00.0) have 3 groups and no "::". */
static size_t colons(struct output *out, const char *text, const char *at) {
    size_t length = strspn(at, "0123456789abcdefABCDEF:"), groups = 0, pairs = 0;
    size_t start = at[0] == ':' && at[1] != ':';
    bool doubled = false;

    if (length < 3 || !(at[0] == ':' || starts_word(text, at)))
        return 0;
    if (at[length] == '.' && isdigit((unsigned char)at[length - 1]) &&
        isdigit((unsigned char)at[length + 1])) {
        /* ::ffff:10.0.0.1 ends in an IPv4 address, which is masked by itself. */
        while (length > 0 && at[length - 1] != ':')
            length--;
    } else if (at[length - 1] == ':' && at[length - 2] != ':') {
        length--;
    }
    for (size_t i = start; i < length;) {
        size_t digits = strspn(at + i, "0123456789abcdefABCDEF");
        if (digits > 4) { /* no group of an address: what stands before it may be one */
            length = i > start ? i - 1 : 0;
            break;
        }
        groups += digits > 0;
        pairs += digits == 2;
        doubled |= digits == 0 && i > 0 && at[i - 1] == ':';
        i += digits + 1;
    }
    bool cut = is_word(at[length]) || (at[0] == ':' && at > text && is_word(at[-1]));
    if (length <= start || groups == 0 || (groups < 5 && (!doubled || cut)))
        return 0;
    put(out, at, start);
    put_masked(out, groups == 6 && pairs == 6 && !doubled ? "mac" : "ip", at + start,
               length - start);
    return length;
}

/* Six pairs of hexadecimal digits with colons, whatever they are glued to: what `colons` leaves. */
static size_t six_pairs(struct output *out, const char *text, const char *at) {
    enum { LENGTH = 17 };

    (void)text;
    for (int i = 0; i < LENGTH; i++) {
        if (i % 3 == 2 ? at[i] != ':' : !is_hex(at[i]))
            return 0;
    }
    put_masked(out, "mac", at, LENGTH);
    return LENGTH;
}

/* `count` groups of `digits` hexadecimal digits. */
static size_t hex_groups(const char *at, const int *digits, size_t count, char separator) {
    const char *end = at;

    for (size_t i = 0; i < count; i++) {
        if (i > 0 && *end++ != separator)
            return 0;
        for (int k = 0; k < digits[i]; k++) {
            if (!is_hex(*end++))
                return 0;
        }
    }
    return is_word(*end) || (*end == separator && is_word(end[1])) ? 0 : (size_t)(end - at);
}

static size_t grouped(struct output *out, const char *text, const char *at) {
    static const int mac[] = {2, 2, 2, 2, 2, 2}, dotted[] = {4, 4, 4}, uuid[] = {8, 4, 4, 4, 12};
    size_t length;

    if (!starts_word(text, at) || (at > text && (at[-1] == '-' || at[-1] == '.')))
        return 0;
    if ((length = hex_groups(at, mac, 6, '-')) > 0 || (length = hex_groups(at, dotted, 3, '.')) > 0)
        put_masked(out, "mac", at, length);
    else if ((length = hex_groups(at, uuid, 5, '-')) > 0)
        put_masked(out, "uuid", at, length);
    return length;
}

/* A bare word of 12 (MAC), 16 (CPU serial) or 32 (machine ID) hexadecimal digits with a letter
 * among them; the kernel prints times of 12 decimal digits. Hashes have 40 or 64. */
static size_t bare_hex(struct output *out, const char *text, const char *at) {
    size_t length = strspn(at, "0123456789abcdefABCDEF");

    if (!starts_word(text, at) || is_word(at[length]) || strspn(at, "0123456789") >= length)
        return 0;
    if (length == 12)
        put_masked(out, "mac", at, length);
    else if (length == 16 || length == 32)
        put_masked(out, "serial", at, length);
    else
        return 0;
    return length;
}

static size_t learnt(struct output *out, const char *text, const char *at) {
    if (at > text && (is_word(at[-1]) || at[-1] == '-'))
        return 0;
    for (size_t i = 0; i < out->mask->count; i++) {
        const struct value *value = &out->mask->values[i];
        if (!value->learnt)
            continue;
        size_t length = strlen(value->text);
        if (length == 0 || strncasecmp(at, value->text, length) != 0)
            continue;
        const char *end = at + length;
        if (is_word(*end) || *end == '-')
            continue;
        /* A kernel parameter: the host "pico2" and pico2.grow=no. */
        if (*end == '.' && end[1 + strcspn(end + 1, " \t\n=")] == '=')
            continue;
        put_masked(out, value->kind, at, length);
        return length;
    }
    return 0;
}

static const char *secret_kind(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof secret_names / sizeof secret_names[0]; i++) {
        if (strlen(secret_names[i].name) == length &&
            strncasecmp(name, secret_names[i].name, length) == 0)
            return secret_names[i].kind;
    }
    return NULL;
}

/* Is this what a value of the kind looks like? "Serial: 8250/16550 driver" is none. */
static bool plausible(const char *kind, const char *value, size_t length) {
    size_t digits = 0;

    if (strcmp(kind, "serial") == 0)
        return length >= 4 && memchr(value, '/', length) == NULL;
    if (strcmp(kind, "mac") != 0)
        return length > 0;
    for (size_t i = 0; i < length; i++)
        digits += is_hex(value[i]);
    return digits >= 6;
}

/* `name=value`, `name: value`, `name "value"`; a network's name may hold blanks. Of a longer name
 * (androidboot.serialno, wifi_psk) the last word counts, where = follows: "ff4c0000.serial: ttyS2"
 * and the register "ip : c0a80001" of an oops are no secrets. */
static size_t named(struct output *out, const char *text, const char *at) {
    size_t name = strcspn(at, " \t\n=:\"'<>(),;/");
    const char *end = at + name, *last = at;

    if (name == 0 || !starts_word(text, at))
        return 0;
    bool part = at > text && (at[-1] == '.' || at[-1] == '-');
    const char *kind = part && *end != '=' ? NULL : secret_kind(at, name);
    if (*end == '=' && kind == NULL) {
        for (const char *c = at; c < end; c++)
            last = strchr("._-", *c) != NULL ? c + 1 : last;
        kind = secret_kind(last, (size_t)(end - last));
    }
    if (kind == NULL || (*end != '=' && strncasecmp(at, "ip", 2) == 0))
        return 0;
    bool network = strcmp(kind, "ssid") == 0;
    const char *value = end + strspn(end, " \t");
    bool sign = *value == '=' || *value == ':';
    value += sign;
    value += strspn(value, " \t");
    char quote = *value == '"' || *value == '\'' ? *value : '\0';
    if (!sign && quote == '\0' && !(network && value > end))
        return 0;
    value += quote != '\0';
    const char stop[] = {quote, '\n', '\0'};
    size_t length = strcspn(value, quote != '\0' ? stop : network ? ",;)\n" : " \t\n,;)]}\"'");
    if (!plausible(kind, value, length))
        return 0;
    put(out, at, (size_t)(value - at));
    put_masked(out, kind, value, length);
    return (size_t)(value - at) + length;
}

/* "mmc@ffa90000" of the device tree and "32K@32K" of a partition string are no addresses. */
static bool is_unit(const char *host, size_t length) {
    size_t digits = strspn(host, "0123456789");

    if (strspn(host, "0123456789abcdefABCDEF") >= length)
        return true;
    return digits > 0 && digits + 1 == length && strchr("KMGkmg", host[digits]) != NULL;
}

/* The runtime's version: 2.3.2 (429f97ae6b@2025-04-09T09:09:27). */
static bool is_date(const char *host) {
    static const char form[] = "0000-00-00";

    for (size_t i = 0; i < sizeof form - 1; i++) {
        if (form[i] == '0' ? !isdigit((unsigned char)host[i]) : host[i] != form[i])
            return false;
    }
    return true;
}

static size_t user_at_host(struct output *out, const char *text, const char *at) {
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";
    size_t user = strspn(at, name);

    if (user == 0 || at[user] != '@' || (at > text && strchr(name, at[-1]) != NULL))
        return 0;
    const char *host = at + user + 1;
    size_t length = strspn(host, name);
    /* "Linux version 5.10.110 (user@host) ...": who built the kernel. */
    bool banner = at > text && at[-1] == '(' && host[length] == ')';
    if (length == 0 || is_date(host) || (!banner && is_unit(host, length)))
        return 0;
    put_masked(out, "user", at, user);
    put(out, "@", 1);
    put_masked(out, "host", host, length);
    return user + 1 + length;
}

static size_t url(struct output *out, const char *text, const char *at) {
    (void)text;
    if (strncmp(at, "://", 3) != 0)
        return 0;
    size_t length = strcspn(at + 3, "/ \t\n\"'<>)");
    if (length == 0)
        return 0;
    put(out, "://", 3);
    put_masked(out, "host", at + 3, length);
    return 3 + length;
}

static size_t home(struct output *out, const char *text, const char *at) {
    static const char *const folders[] = {"/home/", "/Users/"};

    (void)text;
    for (size_t i = 0; i < 2; i++) {
        size_t start = strlen(folders[i]);
        if (strncmp(at, folders[i], start) != 0)
            continue;
        size_t length = strcspn(at + start, "/ \t\n\"':,;)<>");
        if (length == 0 || (length == 4 && strncmp(at + start, "pico", 4) == 0))
            return 0;
        put(out, at, start);
        put_masked(out, "user", at + start, length);
        return start + length;
    }
    return 0;
}

/* A password's hash ($6$...), a private key in PEM, and words that only Base64 looks like. */
static size_t key(struct output *out, const char *text, const char *at) {
    static const char base64[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=";
    size_t upper = 0, lower = 0, digits = 0, slashes = 0;

    if (at[0] == '$' && is_word(at[1]) &&
        strchr(at + 1, '$') == at + strcspn(at + 1, "$ \n:") + 1) {
        size_t length = strcspn(at, " \t\n:\"',;");
        if (length >= 12) {
            put_masked(out, "secret", at, length);
            return length;
        }
    }
    if (strncmp(at, "-----BEGIN ", 11) == 0) {
        const char *end = strstr(at, "-----END ");
        size_t length = end == NULL ? strlen(at) : (size_t)(end - at) + strcspn(end, "\n");
        put_masked(out, "key", at, length);
        return length;
    }
    size_t length = strspn(at, base64);
    if (length < 40 || !starts_word(text, at))
        return 0;
    for (size_t i = 0; i < length; i++) {
        upper += isupper((unsigned char)at[i]) != 0;
        lower += islower((unsigned char)at[i]) != 0;
        digits += isdigit((unsigned char)at[i]) != 0;
        slashes += at[i] == '/';
    }
    if (upper == 0 || lower == 0 || digits == 0 || slashes * 12 > length)
        return 0;
    put_masked(out, "key", at, length);
    return length;
}

char *doctor_mask_text(struct doctor_mask *mask, const char *text) {
    static size_t (*const forms[])(struct output *, const char *, const char *) = {
        named, learnt, user_at_host, url, home, key, ipv4, grouped, bare_hex, colons, six_pairs,
    };
    struct output out = {.mask = mask};
    const char *at = text;

    put(&out, "", 0);
    while (*at != '\0' && !mask->no_memory) {
        size_t taken = placeholder(at);
        put(&out, at, taken);
        for (size_t i = 0; taken == 0 && i < sizeof forms / sizeof forms[0]; i++)
            taken = forms[i](&out, text, at);
        if (taken == 0)
            put(&out, at, taken = 1);
        at += taken;
    }
    if (mask->no_memory) {
        free(out.text);
        return NULL;
    }
    return out.text;
}

static bool replace(struct doctor_mask *mask, char **text) {
    char *masked = doctor_mask_text(mask, *text);
    char *copy = masked == NULL ? NULL : cJSON_malloc(strlen(masked) + 1);

    if (copy != NULL) {
        strcpy(copy, masked);
        cJSON_free(*text);
        *text = copy;
    }
    free(masked);
    return copy != NULL;
}

static bool mask_whole(struct doctor_mask *mask, const char *kind, cJSON *item) {
    struct output out = {.mask = mask};

    put_masked(&out, kind, item->valuestring, strlen(item->valuestring));
    bool done = !mask->no_memory && cJSON_SetValuestring(item, out.text) != NULL;
    free(out.text);
    return done;
}

bool doctor_mask_json(struct doctor_mask *mask, cJSON *json) {
    for (cJSON *item = json; item != NULL; item = item->next) {
        const char *kind = NULL;
        if (item->string != NULL && !(item->type & cJSON_StringIsConst)) {
            kind = secret_kind(item->string, strlen(item->string));
            if (!replace(mask, &item->string))
                return false;
        }
        if (cJSON_IsString(item) && item->valuestring != NULL) {
            bool whole = kind != NULL && item->valuestring[0] != '\0';
            if (!(whole ? mask_whole(mask, kind, item) : replace(mask, &item->valuestring)))
                return false;
        }
        if (item->child != NULL && !doctor_mask_json(mask, item->child))
            return false;
    }
    return true;
}
