import { isIP } from 'node:net'
import { baseOrders, baseSettings } from '@escala/kit/config/base'
import { type Config, flag, integer, type Order } from '@escala/kit/config/config'
import { streamLimits } from '@escala/kit/events/sse'
import { defaultProblemBaseUrl } from '@escala/kit/http/problem'
import { defaultCookieName } from '@escala/kit/sessions/cookie'
import { z } from 'zod'

const secretRule = 'a list, separated by commas, of secrets of at least 32 bytes each; the first signs, all verify'
const maxOrigins = 20
const originsRule =
  'at most 20 origins, separated by commas without blanks, each as browsers send it: https://app.example.com, in lower case, without a path or a final slash'
const proxyRule =
  'the number of proxies in front (0 to 9) or a list of their addresses; never true: clients could name their own address'
const problemRule = 'an address of at most 300 letters, digits and ~ : / % ? & = + @ . - _, without a fragment'
const s3Rule = 'https://KEY_ID:SECRET@HOST/BUCKET?region=REGION, with key and secret percent-encoded'
const cookieRule =
  'one or two names of letters, digits, dashes and underscores, separated by a comma; the first is written, both are read'
const named = ['loopback', 'linklocal', 'uniquelocal']

function isAddress(part: string): boolean {
  const [address = '', bits, ...rest] = part.split('/')
  return (
    named.includes(part) ||
    (isIP(address) !== 0 && rest.length === 0 && (bits === undefined || isPrefix(bits, isIP(address))))
  )
}

const isPrefix = (bits: string, family: number) =>
  /^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128)

function isOrigin(text: string): boolean {
  return /^https?:\/\/[\w.:[\]-]{1,260}$/.test(text) && URL.canParse(text) && new URL(text).origin === text
}

function readS3Url(text: string, context: z.RefinementCtx) {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const region = url?.searchParams.get('region')
  if (!url?.username || !url.password || !region || !/^https?:$/.test(url.protocol)) {
    context.addIssue({ code: 'custom', message: s3Rule })
    return z.NEVER
  }
  const [accessKeyId, secretAccessKey] = [url.username, url.password].map(decodeURIComponent) as [string, string]
  return { bucketUrl: `${url.origin}${url.pathname}`, accessKeyId, secretAccessKey, region }
}

/** Every variable of the API; `docs/configuration.md` explains each. */
export const apiSettings = {
  ...baseSettings,
  PORT: integer(0, 65_535, 3000),
  /** Default: PORT + 1000, so that replicas counted up from one port do not meet. */
  INTERNAL_PORT: integer(0, 65_535).optional(),
  SESSION_SECRETS: z
    .string()
    .transform((list) => list.split(','))
    .refine((secrets) => secrets.every((secret) => Buffer.byteLength(secret) >= 32))
    .describe(secretRule),
  SESSION_COOKIE: z
    .string()
    .regex(/^[\w-]{1,40}(,[\w-]{1,40})?$/)
    .transform((list) => list.split(','))
    .default([defaultCookieName])
    .describe(cookieRule),
  /** Origins whose pages may call the API; NGINX's own errors carry the headers for them, too. */
  CORS_ORIGINS: z
    .string()
    .transform((list) => list.split(','))
    .refine((origins) => origins.length <= maxOrigins && origins.every(isOrigin))
    .optional()
    .describe(originsRule),
  /** `none` lets pages of other sites send the cookie; such cookies are sent over HTTPS only. */
  COOKIE_SAME_SITE: z.enum(['lax', 'none']).default('lax'),
  TRUST_PROXY: z
    .string()
    .refine((value) => /^\d$/.test(value) || value.split(',').every((part) => isAddress(part.trim())))
    .transform((value) => (/^\d$/.test(value) ? Number(value) : value.split(',').map((part) => part.trim())))
    .default(1)
    .describe(proxyRule),
  RATE_LIMIT_PER_MINUTE: integer(1, 1_000_000, 600),
  /** Default: 10 × RATE_LIMIT_PER_MINUTE. */
  ADDRESS_LIMIT_PER_MINUTE: integer(1, 10_000_000).optional(),
  PASSWORD_HASH: z.enum(['argon2id', 'scrypt']).default('argon2id'),
  /** Before the `#` of the `type` of every problem; NGINX's own errors have it, too. */
  PROBLEM_BASE_URL: z
    .string()
    .regex(/^(?=.{1,300}$)https?:\/\/[\w~:/%?&=+@.-]+$/)
    .default(defaultProblemBaseUrl)
    .describe(problemRule),
  EXPOSE_REPLICA: flag(),
  DRAIN_DELAY_MS: integer(0, 60_000, 0),
  REFUSE_MS: integer(0, 60_000, 2000),
  MAX_IN_FLIGHT: integer(1, 100_000, 500),
  MAX_STREAMS: integer(1, 100_000, streamLimits.maxStreams),
  STREAMS_PER_ADDRESS: integer(1, 100_000, streamLimits.maxStreamsPerClient),
  MAX_STREAM_AGE_MS: integer(1000, 86_400_000, streamLimits.maxAgeMs),
  MAX_LOOP_DELAY_MS: integer(5, 10_000, 1000),
  REQUEST_TIMEOUT_MS: integer(100, 120_000, 10_000),
  ALLOW_SECRET_SPLIT: flag(),
  /** Where uploads go instead of Postgres. */
  UPLOADS_S3_URL: z.string().transform(readS3Url).optional().describe(s3Rule),
}

export type ApiConfig = Config<typeof apiSettings>

const whyWithin = 'which gives the request up: what it waits for must be given up before'

/** Bounds that stand within each other. */
export const apiOrders: Order<keyof typeof apiSettings>[] = [
  ...baseOrders,
  { lesser: 'DATABASE_TIMEOUT_MS', greater: 'REQUEST_TIMEOUT_MS', why: whyWithin },
  { lesser: 'REDIS_TIMEOUT_MS', greater: 'REQUEST_TIMEOUT_MS', why: whyWithin },
]

/** Longest time of one try at the store of uploads: two of them and what comes around them fit into the time of a request. */
export const storeTimeoutMs = ({ REQUEST_TIMEOUT_MS }: Pick<ApiConfig, 'REQUEST_TIMEOUT_MS'>) =>
  Math.min(4000, Math.floor(REQUEST_TIMEOUT_MS * 0.4))
