/* Model cards, and with them the JSON helpers. */
#include "card.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pico_error error = {0};
    struct pico_card card;
    char path[32];
    int fd;

    fuzz_file(data, size, &fd, path);
    int status = pico_card_read(&card, path, &error);
    fuzz_check(status, &error);
    if (status == PICO_OK) {
        if (card.image_count < 0 || card.image_count > PICO_CARD_IMAGES || card.classes < 1 ||
            !(card.fraction > 0 && card.fraction <= 1))
            abort();
        pico_card_image(&card, "images/a.png");
        pico_card_image(&card, "");
    }
    close(fd);
    return 0;
}
