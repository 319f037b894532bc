import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDiskUploads } from '@escala/kit/uploads/disk'
import type { Parts } from '../../apps/api/src/parts.ts'

/** Files on the disk of the machine. Here the replicas share one machine, so each gets a folder for its disk. */
export const apiParts: Partial<Parts> = {
  uploads: ({ config }) =>
    createDiskUploads({ folder: mkdtempSync(join(tmpdir(), `escala-disk-${config.REPLICA_ID}-`)) }),
}
