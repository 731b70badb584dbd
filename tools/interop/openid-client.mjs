// Signs a person in with openid-client, the certified client library for Node.js, and prints what came of it.
//
// It reads one JSON object from standard input:
//   issuer, client_id, client_secret (null: a public client), redirect_uri, identifier, password,
//   and for client_credentials: machine (null, or client_id, client_secret, resource, scope)
// and writes one to standard output. Any step that fails ends it with the reason on standard error and exit status 1.

import { text } from 'node:stream/consumers'
import * as oidc from 'openid-client'
import { Browser, fetch, signIn } from './browser.mjs'

function discover(issuer, id, secret) {
  const authentication = secret ? oidc.ClientSecretBasic(secret) : oidc.None()
  return oidc.discovery(new URL(issuer), id, undefined, authentication, {
    execute: [oidc.allowInsecureRequests],
    [oidc.customFetch]: fetch,
  })
}

async function codeFlow(input) {
  const config = await discover(input.issuer, input.client_id, input.client_secret)
  const metadata = config.serverMetadata()

  const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
  const expectedState = oidc.randomState()
  const expectedNonce = oidc.randomNonce()
  const address = oidc.buildAuthorizationUrl(config, {
    redirect_uri: input.redirect_uri,
    scope: 'openid profile email offline_access',
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    nonce: expectedNonce,
  })
  const { back, seen } = await signIn(new Browser(address.origin), address, input.identifier, input.password)

  // The library checks state, iss (RFC 9207), the ID token with its signature, nonce and at_hash, and throws.
  const tokens = await oidc.authorizationCodeGrant(config, back, { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true })
  const claims = tokens.claims()
  const userinfo = await oidc.fetchUserInfo(config, tokens.access_token, claims.sub)

  const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token)
  const introspection = input.client_secret ? await oidc.tokenIntrospection(config, fresh.access_token) : null

  await oidc.tokenRevocation(config, fresh.refresh_token)
  const revoked = await oidc.refreshTokenGrant(config, fresh.refresh_token).then(
    () => null,
    (error) => error.error,
  )
  const end_session = oidc.buildEndSessionUrl(config, { id_token_hint: fresh.id_token ?? tokens.id_token, state: expectedState })

  return {
    issuer: metadata.issuer,
    seen,
    claims,
    userinfo,
    scope: tokens.scope,
    rotated: fresh.refresh_token !== tokens.refresh_token && fresh.access_token !== tokens.access_token,
    introspection,
    revoked,
    end_session: end_session.href,
  }
}

async function clientCredentials(issuer, { client_id, client_secret, resource, scope }) {
  const config = await discover(issuer, client_id, client_secret)
  const tokens = await oidc.clientCredentialsGrant(config, { resource, scope })
  const [header, payload] = tokens.access_token.split('.', 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')))
  return { header, payload, scope: tokens.scope, expires_in: tokens.expires_in }
}

const input = JSON.parse(await text(process.stdin))
const result = await codeFlow(input)
if (input.machine) result.machine = await clientCredentials(input.issuer, input.machine)
console.log(JSON.stringify(result, null, 2))
