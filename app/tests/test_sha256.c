#include "check.h"

#include "sha256.h"

static void expect(const char *bytes, size_t size, const char *digest) {
    char text[PICO_SHA256_TEXT];

    pico_sha256((const uint8_t *)bytes, size, text);
    assert_string_equal(text, digest);
}

/* The examples of FIPS 180-4 and of NIST's test vectors, and every length of the last block. */
static void known_digests(void **state) {
    static char bytes[1000000];

    (void)state;
    expect("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(bytes, 'a', sizeof bytes);
    expect(bytes, sizeof bytes, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    expect(bytes, 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    expect(bytes, 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
    expect(bytes, 119, "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb");
}

static void files(void **state) {
    char text[PICO_SHA256_TEXT];
    struct pico_error error;
    char *folder = enter_folder();

    (void)state;
    write_text("abc", "abc");
    assert_int_equal(pico_sha256_file("abc", "be compared", text, &error), PICO_OK);
    assert_memory_equal(text, "ba7816bf", 8);
    assert_int_equal(pico_sha256_file("none", "be compared", text, &error), PICO_BAD_INPUT);
    assert_says(error, "could not open none, which is needed to be compared");
    leave_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_digests),
        cmocka_unit_test(files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
