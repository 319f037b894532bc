import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { defaultReplicaId } from '@escala/kit/config/base'
import { createLog } from '@escala/kit/log/log'
import { kitMigrations, migrate } from '@escala/kit/postgres/migrations'
import { createTestDatabase, withClient } from '@escala/testing/test-database'
import { expect, inject, test } from 'vitest'
import { forgetDead } from './replicas.ts'

test('processes of this machine that were killed lose their places at once; all others keep them', async () => {
  const database = await createTestDatabase(inject('postgresUrl'))
  await migrate({
    url: database.url,
    folders: [kitMigrations],
    log: createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' }),
  })
  const { pid: ended } = spawnSync(process.execPath, ['--version'])
  const dead = defaultReplicaId(hostname(), ended)
  const others = [defaultReplicaId(hostname(), process.pid), `another-machine-${ended}`, 'api-1', 'worker'].sort()
  try {
    const left = await withClient(database.url, async (client) => {
      for (const id of [dead, ...others]) {
        await client.query(
          `INSERT INTO replicas (incarnation, id, role, version, scopes, secret_fingerprints, schedules, ttl_ms, pool_size, admitted,
             clock_offset_ms, started_at, heartbeat_at)
           VALUES ($1, $2, 'api', '1', '{}', '{}', '{}', 15000, 3, true, 0, now(), now())`,
          [randomUUID(), id],
        )
      }
      await forgetDead(database.url)
      return (await client.query('SELECT id FROM replicas')).rows.map(({ id }) => id).sort()
    })
    expect(left).toEqual(others)
  } finally {
    await database.drop()
  }
})
