import type { RequestHandler } from 'express'

/** Keeps short addresses out of search engines, also where the response is an error. */
export const noIndex: RequestHandler = (req, res, next) => {
  if (req.path.startsWith('/l/')) res.setHeader('X-Robots-Tag', 'noindex')
  next()
}
