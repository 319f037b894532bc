import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { isAlive, run } from './processes.ts'

/**
 * Downloads a package of Debian or Ubuntu, with whatever it needs that this machine lacks, and unpacks it into `target`.
 * Nothing is installed, no script of a package runs, and it needs no root: apt gets lists and archives of its own.
 */
export async function unpackDebianPackage(packageName: string, target: string): Promise<void> {
  const work = `${target}.${process.pid}`
  await mkdir(join(work, 'lists', 'partial'), { recursive: true })
  await mkdir(join(work, 'cache', 'archives', 'partial'), { recursive: true })
  const options = [
    `Dir::State::Lists=${work}/lists`,
    `Dir::Cache=${work}/cache`,
    `Dir::Cache::archives=${work}/cache/archives`,
    `APT::Sandbox::User=${userInfo().username}`,
    'APT::Get::List-Cleanup=0',
    'APT::Update::Post-Invoke-Success::=/bin/true',
    'Debug::NoLocking=1',
    'Acquire::Languages=none',
    'Acquire::Retries=1',
    'Acquire::http::Timeout=15',
    'Acquire::https::Timeout=15',
  ].flatMap((option) => ['-o', option])
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' }
  try {
    // A foreign source that does not answer makes `update` fail; what was fetched of the others may be enough.
    const update = await run('apt-get', [...options, '-qq', 'update'], { env, timeoutMs: 120_000 })
    const download = ['-qq', '-y', '--no-install-recommends', '--download-only', 'install', packageName]
    const install = await run('apt-get', [...options, ...download], { env, timeoutMs: 180_000 })
    const archives = (await readdir(join(work, 'cache', 'archives'))).filter((file) => file.endsWith('.deb'))
    if (install.code !== 0 || archives.length === 0) {
      throw new Error(`apt-get could not download ${packageName}:\n${update.output}${install.output}`.trim())
    }
    await mkdir(join(work, 'root'))
    for (const archive of archives) {
      const unpack = await run('dpkg-deb', ['-x', join(work, 'cache', 'archives', archive), join(work, 'root')])
      if (unpack.code !== 0) throw new Error(`dpkg-deb could not unpack ${archive}: ${unpack.output}`)
    }
    await rm(target, { recursive: true, force: true })
    await rename(join(work, 'root'), target)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** One process at a time; a lock whose holder is dead is taken over. */
export async function withFolderLock<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const file = join(folder, 'lock')
  mkdirSync(folder, { recursive: true })
  for (;;) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      await wait(100)
      const holder = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0
      if (holder > 0 && !isAlive(holder)) rmSync(file, { force: true })
    }
  }
  try {
    return await work()
  } finally {
    rmSync(file, { force: true })
  }
}
