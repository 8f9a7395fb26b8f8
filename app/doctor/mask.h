/* What a file that is posted must not hold: addresses, serial numbers, names, keys, passwords. */
#ifndef DOCTOR_MASK_H
#define DOCTOR_MASK_H

#include <stdbool.h>

#include <cjson/cJSON.h>

/* The placeholders of one file: the same value gets the same one, as <mac-1>. */
struct doctor_mask;

/* NULL without memory. */
struct doctor_mask *doctor_mask_new(void);
void doctor_mask_free(struct doctor_mask *mask);

/* A value that no form gives away: a host's or user's name, a network's, a serial number. It is
 * masked wherever it stands as a word. `kind` is "host", "user", "ssid", "serial", "mac" or
 * "secret". Words that identify nobody ("root", "luckfox") and those of under 3 letters are not
 * learnt. */
void doctor_mask_learn(struct doctor_mask *mask, const char *kind, const char *value);

/* The text without MAC, IPv4 and IPv6 addresses, UUIDs, serial numbers, network names, passwords,
 * keys, USER@HOST, the host of a URL, the owner of /home/NAME and what was learnt; to be freed.
 * Placeholders are kept. NULL without memory. pico_image/board/privacy.py masks the same
 * on the desk; tests/app/test_doctor.py gives both the same texts. */
char *doctor_mask_text(struct doctor_mask *mask, const char *text);

/* The same for every string of a document, names of members included; a member whose name is that
 * of a secret ("password") is masked whole. False without memory. */
bool doctor_mask_json(struct doctor_mask *mask, cJSON *json);

#endif
