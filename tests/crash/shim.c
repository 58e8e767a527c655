/* Loaded before libc (LD_PRELOAD): keeps an account of what the files below one folder held before
 * each write, so that a test can take back what no sync made durable; fails and delays calls on demand.
 *
 * SHIM_FOLDER   files and folders below it are watched
 * SHIM_ACCOUNT  folder of the account ("log") and of the switches: fail-sync, fail-write,
 *               fail-truncate (EIO while the file is there), lie (a sync does nothing and says yes),
 *               lie-folders (so of folders only), fail-some (EIO for one sync in as many as the file says),
 *               delay (a sync takes as many milliseconds as the file says)
 *
 * One record, in the byte order of the machine: kind, 3 bytes of nothing, path bytes (4), data bytes (8),
 * offset (8), size before (8), account (8); path; data. Kinds: w about to be written, t about to be cut
 * (data: what stood there), s synced (account: its length when the sync began), c made (an entry
 * of a folder), f folder synced. A record is complete before its call begins; s and f follow theirs.
 *
 * Names are those that CPython and the SQLite of apsw import; crash-testing.md of the design says which.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct head {
    char kind, nothing[3];
    uint32_t path_bytes;
    uint64_t data_bytes, offset, size, account;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder, *account;
static size_t folder_bytes;
static int account_file = -1;
static __thread int inside;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_ftruncate)(int, off64_t);
static int (*real_fsync)(int), (*real_fdatasync)(int);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_mkdirat)(int, const char *, mode_t);
static int (*real_linkat)(int, const char *, int, const char *, int);

__attribute__((constructor)) static void begin(void)
{
    char name[PATH_MAX];

    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_openat = dlsym(RTLD_NEXT, "openat64");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
    real_mkdirat = dlsym(RTLD_NEXT, "mkdirat");
    real_linkat = dlsym(RTLD_NEXT, "linkat");
    account = getenv("SHIM_ACCOUNT");
    folder = getenv("SHIM_FOLDER");
    if (account == NULL || folder == NULL)
        return;
    folder_bytes = strlen(folder);
    snprintf(name, sizeof name, "%s/log", account);
    account_file = real_openat(AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (account_file < 0)
        abort();
}

/* Whether a path is the folder that holds the watched one: its syncs make that entry durable. */
static int is_above(const char *path)
{
    size_t bytes = strlen(path);

    return bytes < folder_bytes && strncmp(path, folder, bytes) == 0 && folder[bytes] == '/'
        && strchr(folder + bytes + 1, '/') == NULL;
}

/* Path of a descriptor below the folder; 0 where it is none of ours. */
static int ours(int file, char *path)
{
    char link[64];
    ssize_t bytes;

    if (account_file < 0 || inside)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    bytes = readlink(link, path, PATH_MAX - 1);
    if (bytes <= 0)
        return 0;
    path[bytes] = 0;
    return strncmp(path, folder, folder_bytes) == 0 || is_above(path);
}

static int is_on(const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", account, name);
    return access(path, F_OK) == 0;
}

static void note(char kind, const char *path, const void *data, uint64_t bytes, uint64_t offset,
                 uint64_t size, uint64_t about)
{
    struct head head = {.kind = kind, .path_bytes = strlen(path), .data_bytes = bytes,
                        .offset = offset, .size = size, .account = about};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)path, head.path_bytes},
                             {(void *)data, bytes}};

    if (writev(account_file, parts, 3) != (ssize_t)(sizeof head + head.path_bytes + bytes))
        abort(); /* a test without its account would prove nothing */
}

/* Keep what stands where a call is about to write or cut. The lock is held. */
static void keep(char kind, int file, const char *path, uint64_t offset, uint64_t bytes)
{
    struct stat64 found;
    char *before = NULL;
    ssize_t got = 0;

    if (fstat64(file, &found) != 0)
        abort();
    if (offset < (uint64_t)found.st_size) {
        uint64_t there = (uint64_t)found.st_size - offset;

        if (there < bytes || kind == 't')
            bytes = there;
        before = malloc(bytes);
        got = pread64(file, before, bytes, (off64_t)offset);
        if (got < 0 && errno == EBADF) { /* open for writing only: never so with the database */
            char link[64];
            int again;

            snprintf(link, sizeof link, "/proc/self/fd/%d", file);
            again = real_openat(AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
            got = pread64(again, before, bytes, (off64_t)offset);
            close(again);
        }
        if (got != (ssize_t)bytes)
            abort();
    }
    note(kind, path, before, (uint64_t)got, offset, (uint64_t)found.st_size, 0);
    free(before);
}

static ssize_t failed(void)
{
    errno = EIO;
    return -1;
}

ssize_t pwrite64(int file, const void *data, size_t bytes, off64_t offset)
{
    char path[PATH_MAX];
    ssize_t done;

    if (!ours(file, path))
        return real_pwrite(file, data, bytes, offset);
    if (is_on("fail-write"))
        return failed();
    pthread_mutex_lock(&lock);
    keep('w', file, path, (uint64_t)offset, bytes);
    done = real_pwrite(file, data, bytes, offset);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int file, const void *data, size_t bytes, off_t offset)
{
    return pwrite64(file, data, bytes, offset);
}

ssize_t write(int file, const void *data, size_t bytes)
{
    char path[PATH_MAX];
    struct stat64 found;
    ssize_t done;
    off64_t offset;

    if (!ours(file, path) || fstat64(file, &found) != 0 || !S_ISREG(found.st_mode))
        return real_write(file, data, bytes);
    if (is_on("fail-write"))
        return failed();
    pthread_mutex_lock(&lock);
    offset = fcntl(file, F_GETFL) & O_APPEND ? found.st_size : lseek64(file, 0, SEEK_CUR);
    keep('w', file, path, (uint64_t)offset, bytes);
    done = real_write(file, data, bytes);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate64(int file, off64_t size)
{
    char path[PATH_MAX];
    int done;

    if (!ours(file, path))
        return real_ftruncate(file, size);
    if (is_on("fail-truncate"))
        return (int)failed();
    pthread_mutex_lock(&lock);
    keep('t', file, path, (uint64_t)size, 0);
    done = real_ftruncate(file, size);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int file, off_t size)
{
    return ftruncate64(file, size);
}

/* Whether the lot falls on this call: once in as many as a switch says. */
static int one_in(const char *name)
{
    static unsigned int state;
    char path[PATH_MAX];
    int many = 0;
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", account, name);
    inside = 1;
    file = fopen(path, "r");
    if (file != NULL) {
        if (fscanf(file, "%d", &many) != 1)
            many = 0;
        fclose(file);
    }
    inside = 0;
    if (state == 0)
        state = (unsigned int)getpid();
    return many > 0 && rand_r(&state) % (unsigned int)many == 0;
}

static int sync_with(int (*real)(int), int file)
{
    char path[PATH_MAX], name[PATH_MAX];
    struct stat64 found;
    uint64_t before;
    int done, milliseconds = 0;
    FILE *delay;

    if (!ours(file, path) || fstat64(file, &found) != 0)
        return real(file);
    if (is_on("fail-sync"))
        return (int)failed();
    if (one_in("fail-some"))
        return (int)failed();
    if (is_on("lie") || (S_ISDIR(found.st_mode) && is_on("lie-folders")))
        return 0;
    snprintf(name, sizeof name, "%s/delay", account);
    inside = 1;
    delay = fopen(name, "r");
    if (delay != NULL) {
        if (fscanf(delay, "%d", &milliseconds) != 1)
            milliseconds = 0;
        fclose(delay);
    }
    inside = 0;
    usleep((useconds_t)milliseconds * 1000);
    pthread_mutex_lock(&lock);
    before = (uint64_t)lseek64(account_file, 0, SEEK_END);
    pthread_mutex_unlock(&lock);
    done = real(file);
    if (done == 0) {
        pthread_mutex_lock(&lock);
        note(S_ISDIR(found.st_mode) ? 'f' : 's', path, NULL, 0, 0, 0, before);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

int fsync(int file)
{
    return sync_with(real_fsync, file);
}

int fdatasync(int file)
{
    return sync_with(real_fdatasync, file);
}

/* --- entries of folders ------------------------------------------------------------------------ */

/* Absolute path of what is about to be made; 0 where it is none of ours or there already. */
static int is_new(int at, const char *name, char *path)
{
    char base[PATH_MAX], link[64];
    ssize_t bytes;

    if (account_file < 0 || inside)
        return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        if (at == AT_FDCWD)
            snprintf(link, sizeof link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        bytes = readlink(link, base, sizeof base - 1);
        if (bytes <= 0)
            return 0;
        base[bytes] = 0;
        if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX)
            return 0;
    }
    return strncmp(path, folder, folder_bytes) == 0 && access(path, F_OK) != 0;
}

static void made(const char *path)
{
    pthread_mutex_lock(&lock);
    note('c', path, NULL, 0, 0, 0, 0);
    pthread_mutex_unlock(&lock);
}

static int open_with(int at, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];

    if ((flags & O_CREAT) && is_new(at, name, path))
        made(path);
    return real_openat(at, name, flags, mode);
}

#define MODE(after)                      \
    mode_t mode = 0;                     \
    va_list more;                        \
    va_start(more, after);               \
    if (after & (O_CREAT | O_TMPFILE))   \
        mode = va_arg(more, mode_t);     \
    va_end(more)

int open(const char *name, int flags, ...)
{
    MODE(flags);
    return open_with(AT_FDCWD, name, flags, mode);
}

int open64(const char *name, int flags, ...)
{
    MODE(flags);
    return open_with(AT_FDCWD, name, flags, mode);
}

int openat(int at, const char *name, int flags, ...)
{
    MODE(flags);
    return open_with(at, name, flags, mode);
}

int openat64(int at, const char *name, int flags, ...)
{
    MODE(flags);
    return open_with(at, name, flags, mode);
}

int mkdir(const char *name, mode_t mode)
{
    char path[PATH_MAX];

    if (is_new(AT_FDCWD, name, path))
        made(path);
    return real_mkdir(name, mode);
}

int mkdirat(int at, const char *name, mode_t mode)
{
    char path[PATH_MAX];

    if (is_new(at, name, path))
        made(path);
    return real_mkdirat(at, name, mode);
}

int linkat(int from_at, const char *from, int at, const char *name, int flags)
{
    char path[PATH_MAX];

    if (is_new(at, name, path))
        made(path);
    return real_linkat(from_at, from, at, name, flags);
}
