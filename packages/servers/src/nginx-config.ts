import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export interface NginxOptions {
  /** `127.0.0.1:8080`, or a port alone. */
  listen: string
  upstream:
    | { kind: 'addresses'; addresses: string[] }
    /** A name whose addresses come and go, as compose's service names do. Needs NGINX 1.27.3. */
    | { kind: 'names'; name: string; port: number }
  /** Below the folder given with `nginx -p`, or absolute. */
  accessLog?: string
  /** Where bodies are kept meanwhile, as a folder that the workers may enter. Default: the folder given with `nginx -p`. */
  tempFolder?: string
  /** Connections of one client address, or IPv6 network of 64 bits, that wait for a response; one more is 429. Default 512. */
  connectionsPerAddress?: number
  /** The page that explains the errors, as in the API's `PROBLEM_BASE_URL`. */
  problemBaseUrl?: string
  /** Origins whose pages may read NGINX's own errors, separated by commas. Default: none. */
  corsOrigins?: string
  /** The folder of `escala.conf.template` and of the files that it includes. Default: the one of this project, or of this package. */
  confFolder?: string
  /**
   * Other values for single directives, by name: `{ proxy_read_timeout: '300ms' }`; `undefined` leaves the directive out.
   * Where a directive stands more than once, its first place counts: the general one, not a location's.
   * `max_fails` and `fail_timeout` belong to the servers of the upstream `api`.
   */
  settings?: Record<string, string | undefined>
}

const folderOf = (path: string) => fileURLToPath(new URL(path, import.meta.url)).replace(/\/$/, '')
const defaultProblemBaseUrl = 'https://github.com/escala/escala/blob/main/docs/errors.md'

/** The published package has a copy of `infra/nginx`. */
function standardFolder(): string {
  const packed = folderOf('../nginx')
  return existsSync(packed) ? packed : folderOf('../../../infra/nginx')
}

/** The whole configuration file, for `nginx -p FOLDER -c FILE`. Throws when a setting names no directive of it. */
export function renderNginx(options: NginxOptions): string {
  const { listen, upstream, accessLog = 'access.log', tempFolder, connectionsPerAddress = 512, settings = {} } = options
  const { problemBaseUrl = defaultProblemBaseUrl, corsOrigins = '', confFolder = standardFolder() } = options
  // Both stand in strings of the configuration: neither the end of one nor a variable may be in them. The API checks the same variables.
  if (!/^(?=.{1,300}$)https?:\/\/[\w~:/%?&=+@.-]+$/.test(problemBaseUrl)) {
    throw new Error(
      'PROBLEM_BASE_URL: an address of at most 300 letters, digits and ~ : / % ? & = + @ . - _, without a fragment',
    )
  }
  const origins = corsOrigins === '' ? [] : corsOrigins.split(',')
  if (origins.length > 20 || !origins.every(isOrigin)) {
    throw new Error(
      'CORS_ORIGINS: at most 20 origins, separated by commas without blanks, each as browsers send it: https://app.example.com',
    )
  }
  if (!Number.isInteger(connectionsPerAddress) || connectionsPerAddress < 1 || connectionsPerAddress > 65_535) {
    throw new Error('CONNECTIONS_PER_ADDRESS: a whole number from 1 to 65535') // NGINX's own bounds
  }
  const { max_fails = '3', fail_timeout = '5s', ...directives } = settings
  const template = readFileSync(`${confFolder}/escala.conf.template`, 'utf8')
  const text = Object.entries(directives).reduce(
    (config, [name, value]) => replaceDirective(config, name, value),
    template,
  )
  const values: Record<string, string> = {
    WORKER_PROCESSES: 'auto',
    LISTEN: listen,
    CONF_DIR: confFolder,
    ACCESS_LOG: accessLog,
    CONNECTIONS_PER_ADDRESS: String(connectionsPerAddress),
    PROBLEM_BASE_URL: problemBaseUrl,
    CORS_ORIGINS: corsOrigins,
    API_SERVERS: servers(upstream, `max_fails=${max_fails} fail_timeout=${fail_timeout}`),
    NEXT_SERVERS: servers(upstream, max_fails === '0' ? 'max_fails=0' : 'max_fails=1 fail_timeout=1s'),
  }
  const filled = text.replace(/\$\{([A-Z_]+)\}/g, (whole, name: string) => values[name] ?? whole)
  return tempFolder === undefined ? filled : filled.replace(/(_temp_path) (\w+;)/g, `$1 ${tempFolder}/$2`)
}

/** Each server twice: when all count as failed, they are asked all the same. Otherwise those that are back would wait for `fail_timeout`. */
function isOrigin(text: string): boolean {
  return /^https?:\/\/[\w.:[\]-]{1,260}$/.test(text) && URL.canParse(text) && new URL(text).origin === text
}

function servers(upstream: NginxOptions['upstream'], failing: string): string {
  const named = upstream.kind === 'names'
  const all = named ? [`${upstream.name}:${upstream.port} resolve`] : upstream.addresses
  const lines = [failing, 'max_fails=0 backup'].flatMap((how) => all.map((one) => `server ${one} ${how};`))
  return named ? ['resolver 127.0.0.11 valid=1s ipv6=off;', ...lines].join(' ') : lines.join('\n    ')
}

function replaceDirective(config: string, name: string, value: string | undefined): string {
  const directive = new RegExp(`^( *)${name}( [^;\\n]*)?;`, 'm')
  if (!directive.test(config)) throw new Error(`nginx configuration: there is no directive ${name} to replace`)
  return config.replace(directive, (_, indent: string) => (value === undefined ? indent : `${indent}${name} ${value};`))
}
