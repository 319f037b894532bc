import { IncomingMessage } from 'node:http'
import type { Express } from 'express'
import { boundedResponse, type OnLargeHead } from '../lifecycle/bounded-response.ts'
import type { ServerClasses } from '../lifecycle/http-server.ts'

/** Creates what one server makes its requests and responses of. */
export function createServerClasses(onLargeHead: OnLargeHead): Required<ServerClasses> {
  return { IncomingMessage: class extends IncomingMessage {}, ServerResponse: boundedResponse(onLargeHead) }
}

/**
 * Lets requests and responses begin as what Express would make of them. By itself it replaces the prototype of each as it comes:
 * what the server's own classes do would be lost, and each would be two kinds of object to V8. Call it before anything is mounted.
 */
export function useServerClasses(app: Express, { IncomingMessage, ServerResponse }: Required<ServerClasses>): void {
  app.request = Object.setPrototypeOf(IncomingMessage.prototype, app.request)
  app.response = Object.setPrototypeOf(ServerResponse.prototype, app.response)
}
