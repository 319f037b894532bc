// Imports every export of the installed packages, and requires it as CommonJS does.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
let count = 0
for (const name of process.argv.slice(2)) {
  const { exports } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8'))
  for (const subpath of Object.keys(exports)) {
    const specifier = `${name}/${subpath.slice(2)}`
    if (subpath === './package.json' || subpath.endsWith('/contract')) continue // suites run in a test runner only
    const imported = await import(specifier)
    const required = require(specifier)
    for (const one of Object.keys(imported)) {
      if (required[one] !== imported[one]) throw new Error(`${specifier}: require gives another ${one}`)
    }
    count++
  }
}
for (const internal of [
  '@escala/kit/locks/lease',
  '@escala/kit/src/locks/redis.ts',
  '@escala/kit/dist/locks/redis.js',
]) {
  const reached = await import(internal).then(
    () => true,
    (error) => error.code !== 'ERR_PACKAGE_PATH_NOT_EXPORTED',
  )
  if (reached) throw new Error(`${internal} can be reached, and is not exported`)
}
console.log(`${count} exports on ${process.version}`)
