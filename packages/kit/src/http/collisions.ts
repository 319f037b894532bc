import { bootErrors } from '../errors/errors.ts'
import type { Route } from './route.ts'

/**
 * Throws `E_MODULE` when a route could never be reached: one before it, or one of the application's own paths (`reserved`),
 * answers all of its requests. Express takes the first route that fits, so `/things/:id` before `/things/new` hides the latter.
 * The other way round both work.
 */
export function refuseCollisions(
  routes: Pick<Route, 'method' | 'path'>[],
  reserved: readonly string[],
  routers: { path: string }[] = [],
): void {
  const problems = routes.flatMap((later, index) => {
    const hiding = routes
      .slice(0, index)
      .find(({ method, path }) => method === later.method && covers(path, later.path))
    return hiding ? [`${nameOf(hiding)} hides ${nameOf(later)}: declare the latter first`] : []
  })
  for (const route of routes) {
    const taken = reserved.find((path) => covers(route.path, path))
    if (taken !== undefined) problems.push(`${nameOf(route)} hides ${taken}: give it another path`)
  }
  problems.push(...hiddenByRouters(routes, reserved, routers))
  if (problems.length > 0) throw bootErrors.E_MODULE({ detail: problems.join('\n  ') })
}

/** A router has everything below its path, so that nothing else may be there, whatever was declared first. */
function hiddenByRouters(
  routes: Pick<Route, 'method' | 'path'>[],
  reserved: readonly string[],
  routers: { path: string }[],
): string[] {
  return routers.flatMap(({ path }, index) => {
    const others = [...reserved, ...routers.slice(0, index).map((other) => other.path)]
    const below = routes.filter((route) => isWithin(route.path, path)).map(nameOf)
    const overlapping = others.filter((other) => isWithin(other, path) || isWithin(path, other))
    return [...below, ...overlapping].map(
      (other) => `the router ${path} and ${other} collide: give one of them another path`,
    )
  })
}

const isWithin = (path: string, parent: string) => path === parent || path.startsWith(`${parent}/`)

const nameOf = ({ method, path }: Pick<Route, 'method' | 'path'>) => `${method.toUpperCase()} ${path}`

/** Whether every address of `path` is one of `pattern`, too. `false` where that is not plain to see: forms with `{}` or parts of segments. */
function covers(pattern: string, path: string): boolean {
  if (pattern === path) return true
  const wanted = pattern.split('/')
  const given = path.split('/')
  const takesRest = /^\*\w+$/.test(wanted.at(-1) ?? '')
  const own = takesRest ? wanted.slice(0, -1) : wanted
  if (own.some((segment) => !isPlain(segment)) || given.some((segment) => /[{}]/.test(segment))) return false
  if (takesRest ? given.length <= own.length : given.length !== own.length) return false
  if (takesRest && given.slice(own.length).join('/') === '') return false // the rest is at least one character
  return own.every((segment, index) => {
    const other = given[index] ?? ''
    return isParameter(segment) ? other !== '' && !other.includes('*') : segment === other
  })
}

const isParameter = (segment: string) => /^:\w+$/.test(segment)
/** One parameter, or a text. */
const isPlain = (segment: string) => isParameter(segment) || !/[:*{}]/.test(segment)
