import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { redirectToCanonical } from '@escala/kit/http/canonical'
import type { Cors } from '@escala/kit/http/cors'
import { type MountOptions, mountRoutes } from '@escala/kit/http/mount'
import { openApi } from '@escala/kit/http/openapi'
import { notFound, problemBaseUrl, problemHandler } from '@escala/kit/http/problem'
import { type RequestContextOptions, requestContext } from '@escala/kit/http/request-context'
import type { Route } from '@escala/kit/http/route'
import type { ModuleMiddleware } from '@escala/kit/http/routers'
import { useServerClasses } from '@escala/kit/http/server-classes'
import type { Downloads } from '@escala/kit/module'
import express, { type Express, type RequestHandler } from 'express'

export interface AppOptions extends RequestContextOptions, MountOptions {
  classes: Parameters<typeof useServerClasses>[1]
  trustProxy: number | string[]
  version: string
  appName: string
  problemBaseUrl: string
  /** Name of the cookie that a log-in sets. */
  sessionCookie: string
  /** Refuses early what could only be answered too late; before anything that costs. */
  shed: RequestHandler
  /** Lets pages of other origins call. `undefined`: none may. */
  cors: Cors | undefined
  /** Session and general rate limit, side by side: one wait for Redis. */
  sessionAndLimits: RequestHandler
  /** Refuses what pages of other sites send with the session's cookie. */
  originCheck: RequestHandler
  routes: Route[]
  /** Of each module, in their order. */
  middleware?: ModuleMiddleware[]
  /** For the files of the documentation. */
  downloads: Downloads
}

/** The order of everything that a request passes. */
export function createApp(options: AppOptions): Express {
  const app = express()
  useServerClasses(app, options.classes)
  app.set('env', 'production') // or Express sends a stack where its own last error handler is reached
  app.disable('x-powered-by')
  app.disable('etag') // routes that have a version send a tag of their own
  app.set('trust proxy', options.trustProxy)
  app.set(problemBaseUrl, options.problemBaseUrl)
  app.set('query parser', 'simple')
  // One resource has one name.
  app.enable('case sensitive routing')
  app.enable('strict routing')

  app.use(requestContext(options))
  if (options.cors) app.use(options.cors.middleware) // first: what is refused below has its headers, and preflights count for no limit
  app.use(options.shed)
  const { middleware = [] } = options
  for (const handler of middleware.flatMap((one) => one.beforeSession ?? [])) app.use(handler)
  app.use(options.sessionAndLimits)
  app.use(options.originCheck)
  for (const handler of middleware.flatMap((one) => one.afterSession ?? [])) app.use(handler)
  mountRoutes(app, options.routes, { ...options, reserved: ['/docs', '/docs/', '/v1/openapi.json'] })
  mountDocs(app, options)
  app.use(notFound)
  app.use(problemHandler)
  return app
}

/** Swagger UI's own files and requests to this API, nothing else; its styles are partly inline, its icons `data:`. */
const docsPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

function mountDocs(app: Express, { routes, appName, version, sessionCookie, downloads }: AppOptions): void {
  const description = JSON.stringify(
    openApi(routes, {
      title: `${appName.charAt(0).toUpperCase()}${appName.slice(1)}`,
      version,
      sessionCookie,
    }),
  )
  app.get('/v1/openapi.json', (_req, res) => {
    res.type('json').set('Cache-Control', 'no-cache').send(description)
  })
  app.get('/v1/openapi.json/', redirectToCanonical('/v1/openapi.json'))

  const files = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
  const initializer = `window.ui = SwaggerUIBundle({ url: '/v1/openapi.json', dom_id: '#swagger-ui', deepLinking: true })`
  app.use('/docs', (req, res, next) => {
    downloads.begin(req, res)
    res.removeHeader('Cache-Control') // the same for all clients
    res.setHeader('Content-Security-Policy', docsPolicy)
    next()
  })
  app.get('/docs/swagger-initializer.js', (_req, res) => void res.type('js').send(initializer))
  // Not express.static's own redirect, which repeats the query: a response must not grow with what a client sends.
  app.get('/docs', (_req, res) => res.redirect(308, '/docs/')) // with the slash, which its files are relative to
  app.use('/docs', express.static(files, { maxAge: '1h', redirect: false, acceptRanges: false }))
}
