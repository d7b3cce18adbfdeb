/** The wrapper in busybox, the shell of most small images; Debian's package is installed with the engine. */

import { wrapperContract } from '../contract/wrapper.ts'

wrapperContract('busybox ash', ['/bin/busybox', 'ash'])
