/* What this board is called. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board_files.h"
#include "doctor.h"
#include "mask.h"
#include "system.h"

/* NAME:x:UID:...; those from 1000 on are people's. */
static void learn_users(const char *root, struct doctor_mask *mask) {
    FILE *file = pico_board_open(root, PICO_PASSWD);
    char line[256];

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char name[64];
        long number = 0;
        if (sscanf(line, "%63[^:]:%*[^:]:%ld:", name, &number) == 2 && number >= 1000 &&
            number < 65534)
            doctor_mask_learn(mask, "user", name);
    }
    if (file != NULL)
        fclose(file);
}

/* ssid="..." and psk="..." of the networks that the board joins. */
static void learn_networks(const char *root, struct doctor_mask *mask) {
    FILE *file = pico_board_open(root, PICO_WPA_SUPPLICANT);
    char line[256], value[128];

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, " ssid=\"%127[^\"\n]", value) == 1)
            doctor_mask_learn(mask, "ssid", value);
        else if (sscanf(line, " psk=\"%127[^\"\n]", value) == 1 ||
                 sscanf(line, " psk=%127[^\"\n]", value) == 1)
            doctor_mask_learn(mask, "secret", value);
    }
    if (file != NULL)
        fclose(file);
}

static void learn_serial(const char *root, struct doctor_mask *mask) {
    FILE *file = pico_board_open(root, PICO_CPUINFO);
    char line[256], value[64];

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Serial%*[ \t]: %63s", value) == 1 && strspn(value, "0") != strlen(value))
            doctor_mask_learn(mask, "serial", value);
    }
    if (file != NULL)
        fclose(file);
}

static void learn_addresses(const char *root, struct doctor_mask *mask) {
    char folder[PATH_MAX], path[PATH_MAX + 300], line[64];
    DIR *stream = NULL;

    if (pico_board_path(root, PICO_NETWORKS, folder, sizeof folder))
        stream = opendir(folder);
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        char plain[32];
        size_t used = 0;
        snprintf(path, sizeof path, "%s/%s/address", folder, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (file == NULL)
            continue;
        if (fgets(line, sizeof line, file) != NULL) {
            /* Without colons, too, as a kernel parameter may have it. */
            for (const char *c = line; *c != '\0' && *c != '\n' && used < sizeof plain - 1; c++) {
                if (*c != ':')
                    plain[used++] = *c;
            }
            plain[used] = '\0';
            if (strspn(plain, "0") != used)
                doctor_mask_learn(mask, "mac", plain);
        }
        fclose(file);
    }
    if (stream != NULL)
        closedir(stream);
}

void doctor_learn_names(const char *root, struct doctor_mask *mask) {
    char name[128];

    if (pico_read_line(root, PICO_HOSTNAME, name, sizeof name))
        doctor_mask_learn(mask, "host", name);
    learn_users(root, mask);
    learn_networks(root, mask);
    learn_serial(root, mask);
    learn_addresses(root, mask);
}
