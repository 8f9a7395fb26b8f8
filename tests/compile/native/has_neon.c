/* Does cpuinfo see NEON? Exit 0 yes, 1 no, 2 it does not start. XNNPACK asks just this. */

#include <cpuinfo.h>
#include <stdio.h>

int main(void) {
    if (!cpuinfo_initialize())
        return 2;
    printf("neon %d uarch %x\n", cpuinfo_has_arm_neon(), (unsigned)cpuinfo_get_uarch(0)->uarch);
    return cpuinfo_has_arm_neon() ? 0 : 1;
}
