// PM2 on one machine: N replicas of the API, each on a port of its own (3000, 3001, …) behind NGINX, and a worker.
// Start PM2's daemon with Node 24 and a PM2_HOME of its own: in cluster mode replicas run on the daemon's Node.
// Never `pm2 reload` this file: PM2 7 would put all replicas on one port and print a tick. `npm run deploy` reloads by id.
const { existsSync } = require('node:fs')
const { join } = require('node:path')

const root = join(__dirname, '..', '..')
const node = join(root, 'node_modules', 'node', 'bin', 'node')
const { REPLICAS = '3', WORKERS = '1', API_PORT = '3000', WORKER_INTERNAL_PORT = '4100' } = process.env
const { DRAIN_DELAY_MS, DRAIN_DEADLINE_MS, REFUSE_MS } = process.env

// Compiled code is kept from start to start. One arena: else each thread that hashes a password keeps its tens of megabytes for good.
const env = { NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'escala'), MALLOC_ARENA_MAX: '1' }

const common = {
  cwd: root,
  interpreter: existsSync(node) ? node : process.execPath, // without it PM2 looks for another runtime for .ts
  wait_ready: true, // a replica counts when it says `ready`, not when it listens
  listen_timeout: 20_000,
  // Longer than a drain, and the time in which a process closes what it cannot reach: 11 s at most.
  kill_timeout:
    Number(DRAIN_DELAY_MS || 0) + Math.max(Number(DRAIN_DEADLINE_MS || 15_000), Number(REFUSE_MS || 2000)) + 15_000,
  exp_backoff_restart_delay: 200, // a version that cannot start must not keep a core busy
  merge_logs: true,
  pmx: false, // no monitoring code inside the replicas
  vizion: false,
}

module.exports = {
  apps: [
    {
      ...common,
      name: 'api',
      script: 'apps/api/src/main.ts',
      exec_mode: 'cluster',
      instances: Number(REPLICAS),
      // The internal port follows by itself: PORT + 1000. There can be only one variable that counts.
      increment_var: 'PORT',
      env: { ...env, PORT: API_PORT },
    },
    {
      ...common,
      name: 'worker',
      script: 'apps/worker/src/main.ts',
      exec_mode: 'fork',
      instances: Number(WORKERS),
      increment_var: 'INTERNAL_PORT',
      env: { ...env, INTERNAL_PORT: WORKER_INTERNAL_PORT },
    },
  ],
}
