#include "check.h"

#include "card.h"

static const char good[] =
    "{\"schema\": 1, \"name\": \"m\", \"title\": \"M\",\n"
    " \"input\": {\"width\": 8, \"height\": 6, \"channels\": 3, \"color\": \"RGB\",\n"
    "  \"mean\": [127, 127, 127], \"std\": [128, 128, 128],\n"
    "  \"resize\": {\"rule\": \"center-crop\", \"fraction\": 0.875, \"filter\": \"bilinear\"}},\n"
    " \"classes\": 4, \"softmax\": true, \"macs\": 1000, \"macs_source\": \"counted\",\n"
    " \"labels\": \"labels.txt\", \"unknown\": [1, 2],\n"
    " \"files\": {\"fp32\": {\"path\": \"fp32.tflite\", \"sha256\": \"00\", \"bytes\": 1}},\n"
    " \"images\": [{\"path\": \"images/cat.jpg\", \"title\": \"Cat\", \"top1\": [1, 3]},\n"
    "              {\"path\": \"images/x.png\"}]}";

static void good_card(void **state) {
    struct pico_card card;
    struct pico_error error;
    char *folder = enter_folder();

    (void)state;
    write_text("model.json", good);
    assert_int_equal(pico_card_read(&card, "model.json", &error), PICO_OK);
    assert_int_equal(card.width, 8);
    assert_int_equal(card.rule, PICO_RESIZE_CENTER_CROP);
    assert_close(card.fraction, 0.875, 0);
    assert_true(card.softmax && card.fp32.present && !card.int8.present && !card.npu.present);
    assert_int_equal(card.image_count, 2);
    const struct pico_card_image *image = pico_card_image(&card, "/elsewhere/cat.jpg");
    assert_non_null(image);
    assert_int_equal(image->expected_count, 2);
    assert_int_equal(image->expected[1], 3);
    assert_null(pico_card_image(&card, "images/dog.jpg"));
    leave_folder(folder);
}

/* The good card with one text replaced. */
static void expect_error(const char *from, const char *to, const char *says) {
    char text[2048];
    struct pico_card card;
    struct pico_error error;
    const char *at = strstr(good, from);

    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    write_text("model.json", text);
    assert_int_equal(pico_card_read(&card, "model.json", &error), PICO_BAD_INPUT);
    assert_says(error, "model.json");
    assert_says(error, says);
}

static void bad_cards(void **state) {
    char *folder = enter_folder();

    (void)state;
    expect_error("\"schema\": 1", "\"schema\": 2", "schema 2; this program reads 1");
    expect_error("\"width\": 8", "\"width\": 0", "input.width");
    expect_error("\"width\": 8", "\"width\": \"8\"", "input.width");
    expect_error("\"RGB\"", "\"YUV\"", "allowed: RGB, BGR");
    expect_error("[128, 128, 128]", "[128, 0, 128]", "input.std");
    expect_error("[127, 127, 127]", "[127]", "three numbers");
    expect_error("center-crop", "cover", "allowed: center-crop, stretch");
    expect_error("0.875", "1.5", "input.resize.fraction");
    expect_error("bilinear", "lanczos", "allowed: bilinear");
    expect_error("\"softmax\": true", "\"softmax\": 1", "softmax");
    expect_error("\"top1\": [1, 3]", "\"top1\": [4]", "classes from 0 to 3");
    expect_error("\"top1\": [1, 3]", "\"top1\": [1,1,1,1,1,1,1,1,1]", "more than 8");
    expect_error("\"name\": \"m\"", "\"nam\": \"m\"", "name");
    expect_error("]}", "", "JSON");
    leave_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_card),
        cmocka_unit_test(bad_cards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
