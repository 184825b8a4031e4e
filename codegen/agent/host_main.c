/*
 * The update agent as a program: a device on a pseudo-terminal, its flash in a file.
 *
 *     agent_host FLASHFILE [name=value ...]
 *
 * Names:  key, vendor, class, graph (hexadecimal), abi=MAJOR.MINOR.KERNELS, ram, outputs, fw=MAJOR.MINOR.REVISION, slot and
 *         fitting (bytes of a region: whole sectors), selftest (result of the self-test), mv (battery), adv=A,D,V (Q14),
 *         heard, link (a path that becomes a link to the terminal), erase_ms (how long an erase takes), counts (a file that
 *         gets what was done to the flash, as JSON), cut and torn (at which flash operation the power goes; then exit code 9).
 * Output: one line, the path of the terminal. It runs until it is killed; a reset starts the agent anew.
 */
#define _XOPEN_SOURCE 600
#include "host_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define POWER_CUT 9
#define MOST_BYTES (16u << 20)

static int read_hex(uint8_t *to, size_t n, const char *text)
{
    size_t i;
    if (strlen(text) != 2u * n) {
        return -1;
    }
    for (i = 0; i < n; i++) {
        char pair[3] = {text[2u * i], text[2u * i + 1u], '\0'};
        char *end;
        to[i] = (uint8_t)strtoul(pair, &end, 16);
        if (*end != '\0') {
            return -1;
        }
    }
    return 0;
}

/* What is set after the device is made. */
typedef struct {
    uint32_t cut, torn, millivolts, heard, erase_ms;
    int32_t self_test;
    int32_t adv[3];
    const char *link;
    const char *counts;
} late_t;

static int read_version(host_options_t *options, const char *text)
{
    unsigned parts[3];
    if (sscanf(text, "%u.%u.%u", &parts[0], &parts[1], &parts[2]) != 3 || strlen(text) >= sizeof options->firmware) {
        return -1;
    }
    options->device.firmware.release = (parts[0] & 0xFFu) << 24 | (parts[1] & 0xFFu) << 16 | (parts[2] & 0xFFFFu);
    memcpy(options->firmware, text, strlen(text) + 1u);
    return 0;
}

static int read_device(ag_device_t *device, const char *name, const char *value)
{
    unsigned major, minor, kernels;
    if (strcmp(name, "key") == 0) {
        return read_hex(device->key, sizeof device->key, value);
    }
    if (strcmp(name, "vendor") == 0) {
        return read_hex(device->vendor, sizeof device->vendor, value);
    }
    if (strcmp(name, "class") == 0) {
        return read_hex(device->kind, sizeof device->kind, value);
    }
    if (strcmp(name, "graph") == 0) {
        return read_hex(device->graph, sizeof device->graph, value);
    }
    if (strcmp(name, "abi") == 0) {
        if (sscanf(value, "%u.%u.%u", &major, &minor, &kernels) != 3) {
            return -1;
        }
        device->abi_major = (uint16_t)major;
        device->abi_minor = (uint16_t)minor;
        device->kernels = kernels;
        return 0;
    }
    return 1;
}

static int read_option(host_options_t *options, late_t *late, const char *name, const char *value)
{
    const uint32_t number = (uint32_t)strtoul(value, NULL, 0);
    const struct {
        const char *name;
        uint32_t *to;
    } numbers[] = {{"ram", &options->device.ram},     {"slot", &options->slot_bytes}, {"fitting", &options->fitting_bytes},
                   {"cut", &late->cut},               {"torn", &late->torn},          {"mv", &late->millivolts},
                   {"heard", &late->heard},           {"erase_ms", &late->erase_ms}};
    size_t i;
    for (i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].to = number;
            return 0;
        }
    }
    if (strcmp(name, "outputs") == 0) {
        options->device.outputs = (uint16_t)number;
    } else if (strcmp(name, "selftest") == 0) {
        late->self_test = (int32_t)strtol(value, NULL, 0);
    } else if (strcmp(name, "link") == 0) {
        late->link = value;
    } else if (strcmp(name, "counts") == 0) {
        late->counts = value;
    } else if (strcmp(name, "fw") == 0) {
        return read_version(options, value);
    } else if (strcmp(name, "adv") == 0) {
        return sscanf(value, "%d,%d,%d", &late->adv[0], &late->adv[1], &late->adv[2]) == 3 ? 0 : -1;
    } else {
        return read_device(&options->device, name, value);
    }
    return 0;
}

static void set_defaults(host_options_t *options, late_t *late)
{
    memset(options, 0, sizeof *options);
    memset(late, 0, sizeof *late);
    late->cut = UINT32_MAX;
    options->slot_bytes = 18u * AG_SECTOR_BYTES;
    options->fitting_bytes = 2u * AG_SECTOR_BYTES;
    options->device.ram = 65536;
    options->device.outputs = 3;
    options->device.abi_major = 1;
    (void)read_version(options, "1.0.0");
}

static int check_region(const char *name, uint32_t bytes)
{
    if (bytes == 0u || bytes % AG_SECTOR_BYTES != 0u || bytes > MOST_BYTES) {
        (void)fprintf(stderr, "agent_host: %s=%lu: a region is whole sectors of %u bytes, up to %u; give %s=%u\n", name,
                      (unsigned long)bytes, AG_SECTOR_BYTES, MOST_BYTES, name, AG_SECTOR_BYTES);
        return -1;
    }
    return 0;
}

static int read_options(host_options_t *options, late_t *late, int argc, char **argv)
{
    int i;
    set_defaults(options, late);
    for (i = 2; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (equals != NULL) {
            *equals = '\0';
        }
        if (equals == NULL || read_option(options, late, argv[i], equals + 1) != 0) {
            (void)fprintf(stderr, "agent_host: %s: no such option, or no such value\n", argv[i]);
            return -1;
        }
    }
    return check_region("slot", options->slot_bytes) != 0 ? -1 : check_region("fitting", options->fitting_bytes);
}

/* Open a terminal and keep its other end open, so that hosts may come and go; returns the device's end. */
static int open_terminal(const char *link_path)
{
    const int line = posix_openpt(O_RDWR | O_NOCTTY);
    const char *path;
    struct termios mode;
    int other;
    if (line < 0 || grantpt(line) != 0 || unlockpt(line) != 0) {
        return -1;
    }
    path = ptsname(line);
    other = path == NULL ? -1 : open(path, O_RDWR | O_NOCTTY);
    if (other < 0 || tcgetattr(other, &mode) != 0) {
        return -1;
    }
    mode.c_iflag = 0;
    mode.c_oflag = 0;
    mode.c_lflag = 0;
    if (tcsetattr(other, TCSANOW, &mode) != 0) {
        return -1;
    }
    if (link_path != NULL) {
        (void)unlink(link_path);
        if (symlink(path, link_path) != 0) {
            return -1;
        }
    }
    (void)printf("%s\n", path);
    (void)fflush(stdout);
    return line;
}

static int save(const host_device_t *device, const char *path)
{
    FILE *file = fopen(path, "r+b");
    int failed;
    if (file == NULL) {
        file = fopen(path, "wb");
    }
    if (file == NULL) {
        return -1;
    }
    failed = fwrite(device->flash.bytes, 1, device->flash.size, file) != device->flash.size;
    return fclose(file) != 0 || failed ? -1 : 0;
}

/* What was done to the flash since the program began; whoever reads the file finds it whole. */
static int save_counts(const host_device_t *device, const char *path)
{
    const uint32_t sectors = device->flash.size / AG_SECTOR_BYTES;
    char fresh[4096];
    uint32_t i;
    FILE *file;
    if (path == NULL) {
        return 0;
    }
    if ((size_t)snprintf(fresh, sizeof fresh, "%s.new", path) >= sizeof fresh || (file = fopen(fresh, "w")) == NULL) {
        return -1;
    }
    (void)fprintf(file, "{\"operations\": %lu, \"violations\": %lu, \"erases\": [", (unsigned long)device->flash.operations,
                  (unsigned long)device->flash.violations);
    for (i = 0; i < sectors; i++) {
        (void)fprintf(file, "%s%lu", i == 0u ? "" : ", ", (unsigned long)device->flash.erases[i]);
    }
    (void)fprintf(file, "]}\n");
    return fclose(file) != 0 ? -1 : rename(fresh, path);
}

/* A file that is shorter than the flash leaves the rest erased. */
static void load(host_device_t *device, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file != NULL) {
        (void)fread(device->flash.bytes, 1, device->flash.size, file);
        (void)fclose(file);
    }
}

static int write_all(int line, const uint8_t *bytes, uint32_t n)
{
    while (n > 0u) {
        const ssize_t done = write(line, bytes, n);
        if (done < 0 && errno != EINTR) {
            return -1;
        }
        if (done > 0) {
            bytes += done;
            n -= (uint32_t)done;
        }
    }
    return 0;
}

/* Answer until the line or the power goes. */
static int serve(host_device_t *device, int line, const char *path, const char *counts)
{
    for (;;) {
        uint8_t byte;
        const uint32_t done = device->flash.operations + device->flash.violations;
        const ssize_t got = read(line, &byte, 1);
        uint32_t n;
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got != 1) {
            return 1;
        }
        n = host_device_feed(device, &byte, 1);
        if (device->resets != 0u) {
            (void)write_all(line, device->sent, n);
            n = 0;
            device->resets = 0;
            (void)host_device_start(device);
        }
        if (device->flash.operations + device->flash.violations != done &&
            (save(device, path) != 0 || save_counts(device, counts) != 0)) {
            return 1;
        }
        if (device->flash.dead) {
            return POWER_CUT;
        }
        if (n != 0u && write_all(line, device->sent, n) != 0) {
            return 1;
        }
    }
}

int main(int argc, char **argv)
{
    host_options_t options;
    late_t late;
    host_device_t *device;
    int line, result;
    if (argc < 2 || read_options(&options, &late, argc, argv) != 0) {
        /* The first line says which option it was. */
        (void)fprintf(stderr, "usage: agent_host FLASHFILE [name=value ...]\n");
        return 2;
    }
    device = host_device_new(&options);
    if (device == NULL) {
        return 1;
    }
    load(device, argv[1]);
    device->self_test_result = late.self_test;
    host_device_set_adv(device, late.adv, late.heard);
    device->millivolts = late.millivolts;
    device->flash.erase_ms = late.erase_ms;
    host_device_cut(device, late.cut, late.torn);
    (void)host_device_start(device);
    if (save(device, argv[1]) != 0 || save_counts(device, late.counts) != 0) {
        (void)fprintf(stderr, "agent_host: cannot write %s (%s)\n", argv[1], strerror(errno));
        return 1;
    }
    if (device->flash.dead) {
        return POWER_CUT;
    }
    line = open_terminal(late.link);
    if (line < 0) {
        (void)fprintf(stderr, "agent_host: no pseudo-terminal (%s)\n", strerror(errno));
        return 1;
    }
    result = serve(device, line, argv[1], late.counts);
    if (late.link != NULL) {
        /* The terminal's name is the next one's who opens a terminal. */
        (void)unlink(late.link);
    }
    host_device_free(device);
    return result;
}
