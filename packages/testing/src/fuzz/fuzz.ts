import fc from 'fast-check'
import { toCurl } from './curl.ts'
import { findOperation, type OpenApiDocument, readOperations } from './document.ts'
import { createJudge, type Expectations } from './judge.ts'
import { type FuzzRequest, type RequestOptions, requestsFor } from './requests.ts'
import { type RawAnswer, type RawRequest, sendRaw } from './wire.ts'

export interface FuzzOptions extends Omit<RequestOptions, 'identities'>, Expectations {
  url: string
  document: OpenApiDocument
  seed: number
  requests: number
  /** Requests at a time; default 8. */
  concurrency?: number
  /** Name → the headers that make a request that user's. Asked before each batch: the fuzz logs users out. */
  identities: Record<string, () => Promise<[name: string, value: string][]>>
  /** Returns what is wrong with the system: asked after each batch, with everything that was sent since the last time. */
  inspect(sent: SentRequest[]): Promise<Suspicion[]>
  progress?(sent: number): void
}

export interface SentRequest {
  request: FuzzRequest
  answer: RawAnswer
}

/** Something that was seen beside the answers. */
export interface Suspicion {
  what: string
  /** The request that did it, where that is known. */
  request?: FuzzRequest
}

export interface Finding {
  what: string
  /** Requests of the run that showed it. */
  count: number
  /** The smallest that still shows it, with its answer's status; without one for what no single request is known to do. */
  curl?: string
}

export interface FuzzReport {
  sent: number
  findings: Finding[]
  /** `200`, `400 E_VALIDATION` → how many. */
  statuses: Record<string, number>
  slowestMs: number
}

const batchSize = 100
const shrinkForMs = 5000

/** Sends requests drawn from the seed and judges each answer. The same seed sends the same requests to a server in the same state. */
export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const { url, seed, requests, concurrency = 8, identities, withinMs, maxBodyBytes } = options
  const operations = readOperations(options.document)
  const judge = createJudge(operations, options)
  const arbitrary = requestsFor(operations, { ...options, identities: Object.keys(identities) })
  const send = { url, timeoutMs: 2 * withinMs, maxBytes: maxBodyBytes + 1_000_000 }
  const statuses: Record<string, number> = {}
  const found = new Map<string, Finding>()
  let slowestMs = 0
  let sent = 0
  let uninspected: SentRequest[] = []

  const nameOf = ({ method, target }: FuzzRequest) =>
    findOperation(operations, method, target)?.name ?? 'another address'
  const wrongs = (request: FuzzRequest, answer: RawAnswer) =>
    judge(request, answer).map((what) => `${nameOf(request)}: ${what}`)
  const perform = async (request: FuzzRequest, headers: Headers): Promise<SentRequest> => {
    const done = { request, answer: await sendRaw(complete(request, headers), send) }
    uninspected.push(done)
    return done
  }

  /** The request of the batch with this number, made as small as it can be while the same is wrong with it. */
  const shrink = async (batchSeed: number, index: number, what: string, headers: Headers) => {
    const property = fc.asyncProperty(arbitrary, async (request) => {
      const { answer } = await perform(request, headers)
      return !wrongs(request, answer).includes(what)
    })
    const result = await fc.check(property, {
      seed: batchSeed,
      path: String(index),
      numRuns: 1,
      interruptAfterTimeLimit: shrinkForMs,
    })
    return result.counterexample?.[0]
  }

  for (let batch = 0; sent < requests; batch++) {
    const batchSeed = seed * 100_000 + batch
    const drawn = fc.sample(arbitrary, { seed: batchSeed, numRuns: Math.min(batchSize, requests - sent) })
    const headers = await logIn(identities)
    const batchDone = await inParallel(drawn, concurrency, (request) => perform(request, headers))
    sent += drawn.length
    for (const [index, { request, answer }] of batchDone.entries()) {
      slowestMs = Math.max(slowestMs, answer.ms)
      add(statuses, labelOf(answer))
      for (const what of wrongs(request, answer)) {
        const known = found.get(what)
        if (known) known.count++
        else {
          const small = (await shrink(batchSeed, index, what, headers)) ?? request
          found.set(what, { what, count: 1, curl: toCurl(url, complete(small, headers)) })
        }
      }
    }
    const suspicions = await options.inspect(uninspected)
    uninspected = []
    for (const { what, request } of suspicions) {
      const known = found.get(what)
      if (known) known.count++
      else found.set(what, { what, count: 1, ...(request && { curl: toCurl(url, complete(request, headers)) }) })
    }
    options.progress?.(sent)
  }
  return { sent, findings: [...found.values()], statuses, slowestMs }
}

type Headers = Record<string, [name: string, value: string][]>

async function logIn(identities: FuzzOptions['identities']): Promise<Headers> {
  const names = Object.entries(identities)
  return Object.fromEntries(await Promise.all(names.map(async ([name, headers]) => [name, await headers()])))
}

function complete({ identity, headers, ...request }: FuzzRequest, identities: Headers): RawRequest {
  return { ...request, headers: [...(identities[identity] ?? []), ...headers] }
}

function labelOf({ status, body, failure }: RawAnswer): string {
  if (failure !== undefined) return failure
  const code = status >= 400 ? /"code":"(\w+)"/.exec(body.toString('latin1'))?.[1] : undefined
  return code === undefined ? String(status) : `${status} ${code}`
}

function add(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}

/** In the order of the items. */
async function inParallel<Item, Result>(
  items: Item[],
  limit: number,
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  const entries = items.entries()
  const runOne = async () => {
    for (const [index, item] of entries) results[index] = await work(item)
  }
  await Promise.all(Array.from({ length: limit }, runOne))
  return results
}
