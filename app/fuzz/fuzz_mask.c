/* Any text: no address is left where one can stand. */
#include <ctype.h>

#include "fuzz.h"
#include "mask.h"

/* Six pairs of hexadecimal digits between colons, wherever they stand. */
static void refuse_mac(const char *text) {
    for (const char *at = text; *at != '\0'; at++) {
        int pairs = 0;
        for (const char *c = at; isxdigit((unsigned char)c[0]) && isxdigit((unsigned char)c[1]);
             c += 3) {
            pairs++;
            if (c[2] != ':')
                break;
        }
        if (pairs >= 6)
            abort();
    }
}

/* Four numbers up to 255 between dots, blanks around them. */
static void refuse_ipv4(const char *text) {
    for (const char *at = text; *at != '\0'; at++) {
        int parts[4], used = 0;
        if ((at == text || at[-1] == ' ') && isdigit((unsigned char)*at) &&
            sscanf(at, "%3d.%3d.%3d.%3d%n", &parts[0], &parts[1], &parts[2], &parts[3], &used) ==
                4 &&
            (at[used] == ' ' || at[used] == '\0') && strspn(at, "0123456789.") == (size_t)used &&
            parts[0] < 256 && parts[1] < 256 && parts[2] < 256 && parts[3] < 256)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct doctor_mask *mask = doctor_mask_new();
    char *text = malloc(size + 1);

    if (mask == NULL || text == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    doctor_mask_learn(mask, "host", "kitchen");
    doctor_mask_learn(mask, "mac", "021122334455");
    char *once = doctor_mask_text(mask, text);
    if (once == NULL)
        abort();
    refuse_mac(once);
    refuse_ipv4(once);
    cJSON *json = cJSON_ParseWithLength(text, size);
    if (json != NULL && !doctor_mask_json(mask, json))
        abort();
    cJSON_Delete(json);
    free(once);
    free(text);
    doctor_mask_free(mask);
    return 0;
}
