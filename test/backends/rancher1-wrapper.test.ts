/** The wrapper in the shells that every Debian has. */

import { wrapperContract } from '../contract/wrapper.ts'

wrapperContract('sh', ['/bin/sh'])
wrapperContract('bash as sh', ['/bin/bash'])
