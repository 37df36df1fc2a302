/* A stand-in for NVIDIA's libnvidia-ml.so.1: the functions that llamavet calls, with the real ABI.

   Its state is a file of key=value lines, named by LLAMAVET_TEST_NVML and read anew at each call:

     init=!9                     nvmlInit fails with code 9 (driver not loaded)
     all=!18                     every call about a GPU fails, for all GPUs
     count=2                     how many GPUs there are; count=!N fails
     gpu0.handle=!15             there is no handle for GPU 0: code 15 (GPU is lost)
     gpu0.all=!15                every call about GPU 0 fails
     gpu0.name, gpu0.uuid        text
     gpu0.memory.total, .used, .reserved      bytes
     gpu0.utilization            percent
     gpu0.temperature            degrees Celsius
     gpu0.power, .power_limit    milliwatts
     gpu0.clock.sm, .clock.memory             MHz
     gpu0.throttle               nvmlClocksEventReasons, as a number
     gpu0.compute, .graphics     processes: PID:BYTES or PID:na, parted by commas

   Any value of the form !N makes the call that reads it fail with NVML's return code N, and so does
   a key that is absent, with 3 (not supported). Built with -DOLD_DRIVER it lacks the functions that
   a driver of the 470 branch lacks. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, TOO_SMALL = 7, VERSION = 25 };
enum { MAX_GPUS = 64, MEMORY_V2 = 0x02000028, SM_CLOCK = 1, MEMORY_CLOCK = 2 };

typedef unsigned long long bytes_t;
typedef struct gpu *device_t;
struct memory_v1 { bytes_t total, free, used; };
struct memory_v2 { unsigned version; bytes_t total, reserved, free, used; };
struct utilization { unsigned gpu, memory; };
struct process { unsigned pid; bytes_t used; unsigned gpu_instance, compute_instance; };

struct gpu { int index; };
static struct gpu gpus[MAX_GPUS];
static int initialized;

/* Copies a key's value; returns 0 where the key is absent. The last line of a key counts. */
static int look_up(const char *key, char *value, size_t size)
{
    const char *path = getenv("LLAMAVET_TEST_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    size_t length = strlen(key);
    char line[4096];
    int found = 0;
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && line[length] == '=') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    fclose(file);
    return found;
}

/* The code that a key asks for, OK where its value is a plain one, `absent` where there is none. */
static int state(const char *key, char *value, size_t size, int absent)
{
    if (!look_up(key, value, size))
        return absent;
    return value[0] == '!' ? atoi(value + 1) : OK;
}

static int read_text(device_t gpu, const char *name, char *value, size_t size)
{
    char key[128];
    int code;
    if (!initialized)
        return UNINITIALIZED;
    if ((code = state("all", value, size, OK)))
        return code;
    snprintf(key, sizeof key, "gpu%d.all", gpu->index);
    if ((code = state(key, value, size, OK)))
        return code;
    snprintf(key, sizeof key, "gpu%d.%s", gpu->index, name);
    return state(key, value, size, NOT_SUPPORTED);
}

static int read_bytes(device_t gpu, const char *name, bytes_t *number)
{
    char text[4096];
    int code = read_text(gpu, name, text, sizeof text);
    if (!code)
        *number = strtoull(text, NULL, 10);
    return code;
}

static int read_unsigned(device_t gpu, const char *name, unsigned *number)
{
    bytes_t wide = 0;
    int code = read_bytes(gpu, name, &wide);
    if (!code)
        *number = (unsigned)wide;
    return code;
}

static int read_processes(device_t gpu, const char *name, unsigned *count, struct process *processes)
{
    char text[4096], *entry, *rest = NULL;
    unsigned found = 0, room = *count;
    int code = read_text(gpu, name, text, sizeof text);
    if (code)
        return code;
    for (entry = strtok_r(text, ",", &rest); entry; entry = strtok_r(NULL, ",", &rest), found++)
        if (processes && found < room) {
            char *used = strchr(entry, ':');
            int given = used && strcmp(used, ":na");
            processes[found].pid = (unsigned)strtoul(entry, NULL, 10);
            processes[found].used = given ? strtoull(used + 1, NULL, 10) : ~0ULL;
            processes[found].gpu_instance = processes[found].compute_instance = ~0U;
        }
    *count = found;
    return found > room ? TOO_SMALL : OK;
}

int nvmlInitWithFlags(unsigned flags)
{
    char text[64];
    int code = state("init", text, sizeof text, OK);
    (void)flags;
    if (!code)
        initialized++;
    return code;
}

int nvmlShutdown(void)
{
    if (!initialized)
        return UNINITIALIZED;
    initialized--;
    return OK;
}

const char *nvmlErrorString(int code)
{
    return code == 28 ? "GPU Not Found" : "Unknown Error"; /* nvidia-ml-py knows the others itself */
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    char text[64];
    int code = initialized ? state("count", text, sizeof text, NOT_SUPPORTED) : UNINITIALIZED;
    if (!code)
        *count = (unsigned)atoi(text);
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device)
{
    char key[64], text[64];
    int code;
    if (!initialized)
        return UNINITIALIZED;
    if (index >= MAX_GPUS)
        return INVALID_ARGUMENT;
    snprintf(key, sizeof key, "gpu%u.handle", index);
    if ((code = state(key, text, sizeof text, OK)))
        return code;
    gpus[index].index = (int)index;
    *device = &gpus[index];
    return OK;
}

int nvmlDeviceGetName(device_t gpu, char *name, unsigned size) { return read_text(gpu, "name", name, size); }
int nvmlDeviceGetUUID(device_t gpu, char *uuid, unsigned size) { return read_text(gpu, "uuid", uuid, size); }

/* The first version counts what the driver keeps for itself as used. */
int nvmlDeviceGetMemoryInfo(device_t gpu, struct memory_v1 *memory)
{
    bytes_t reserved = 0;
    int code = read_bytes(gpu, "memory.total", &memory->total);
    code = code ? code : read_bytes(gpu, "memory.used", &memory->used);
    if (code)
        return code;
    read_bytes(gpu, "memory.reserved", &reserved);
    memory->used += reserved;
    memory->free = memory->total - memory->used;
    return OK;
}

#ifndef OLD_DRIVER
int nvmlDeviceGetMemoryInfo_v2(device_t gpu, struct memory_v2 *memory)
{
    int code = memory->version == MEMORY_V2 ? OK : VERSION;
    code = code ? code : read_bytes(gpu, "memory.total", &memory->total);
    code = code ? code : read_bytes(gpu, "memory.used", &memory->used);
    if (code)
        return code;
    memory->reserved = 0;
    read_bytes(gpu, "memory.reserved", &memory->reserved);
    memory->free = memory->total - memory->reserved - memory->used;
    return OK;
}
#endif

int nvmlDeviceGetUtilizationRates(device_t gpu, struct utilization *use)
{
    use->memory = 0;
    return read_unsigned(gpu, "utilization", &use->gpu);
}

int nvmlDeviceGetTemperature(device_t gpu, int sensor, unsigned *celsius)
{
    return sensor ? INVALID_ARGUMENT : read_unsigned(gpu, "temperature", celsius);
}

int nvmlDeviceGetPowerUsage(device_t gpu, unsigned *milliwatts) { return read_unsigned(gpu, "power", milliwatts); }

int nvmlDeviceGetEnforcedPowerLimit(device_t gpu, unsigned *milliwatts)
{
    return read_unsigned(gpu, "power_limit", milliwatts);
}

int nvmlDeviceGetClockInfo(device_t gpu, int clock, unsigned *mhz)
{
    if (clock != SM_CLOCK && clock != MEMORY_CLOCK)
        return INVALID_ARGUMENT;
    return read_unsigned(gpu, clock == SM_CLOCK ? "clock.sm" : "clock.memory", mhz);
}

#ifdef OLD_DRIVER
int nvmlDeviceGetCurrentClocksThrottleReasons(device_t gpu, bytes_t *reasons)
#else
int nvmlDeviceGetCurrentClocksEventReasons(device_t gpu, bytes_t *reasons)
#endif
{
    return read_bytes(gpu, "throttle", reasons);
}

#define PROCESSES(function, key) \
    int function(device_t gpu, unsigned *count, struct process *processes) \
    { \
        return read_processes(gpu, key, count, processes); \
    }

PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, "compute")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, "graphics")
#ifndef OLD_DRIVER
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, "compute")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, "graphics")
#endif
