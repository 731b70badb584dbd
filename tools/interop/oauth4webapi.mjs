// Takes a person through the flows of oauth4webapi, the protocol library that openid-client is built on, one step at a time, and
// prints what came of each. Every message is checked by the library, which throws.
//
// It reads one JSON object from standard input:
//   issuer, other_issuer, redirect_uri, identifier, password,
//   web, fapi: clients that authenticate by private_key_jwt, each with key (a private JWK of ES256) and its client metadata;
//   fapi has the FAPI 2.0 profile
// and writes one to standard output. Any step that fails ends it with the reason on standard error and exit status 1. What is to
// be refused is under refused, with the error's name: the provider's or, in capitals, the library's.

import { text } from 'node:stream/consumers'
import * as oauth from 'oauth4webapi'
import { Browser, fetch, signIn } from './browser.mjs'

const input = JSON.parse(await text(process.stdin))
const http = { [oauth.allowInsecureRequests]: true, [oauth.customFetch]: fetch }

async function discover(address) {
  const issuer = new URL(address)
  return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, http))
}

const as = await discover(input.issuer)
const browser = new Browser(new URL(input.issuer).origin)
const signingKey = (jwk) => crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])

/** A client of the provider with the key it signs with and a new one for DPoP. */
async function relyingParty({ key: jwk, ...client }) {
  const key = { key: await signingKey(jwk), kid: jwk.kid }
  const proofKey = await oauth.generateKeyPair('ES256')
  return { client, key, proofKey, auth: oauth.PrivateKeyJwt(key), dpop: oauth.DPoP(client, proofKey) }
}

let nonces = 0

/** Sends a request and reads the answer; once more when the provider wants its nonce in the DPoP proof (RFC 9449 section 8). */
async function call(send, process) {
  try {
    return await process(await send())
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error
    nonces++
    return process(await send())
  }
}

/** An authorization request and what its answer must fit. */
async function newRequest(scope, more = {}) {
  const [verifier, state, nonce] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState(), oauth.generateRandomNonce()]
  const code_challenge = await oauth.calculatePKCECodeChallenge(verifier)
  const parameters = { redirect_uri: input.redirect_uri, response_type: 'code', scope, state, nonce, code_challenge, code_challenge_method: 'S256', ...more }
  return { verifier, state, nonce, parameters }
}

const push = ({ client, auth, dpop }, parameters) =>
  call(
    () => oauth.pushedAuthorizationRequest(as, client, auth, parameters, { ...http, DPoP: dpop }),
    (response) => oauth.processPushedAuthorizationResponse(as, client, response),
  )

function authorizationAddress({ client }, parameters) {
  const address = new URL(as.authorization_endpoint)
  address.search = new URLSearchParams({ client_id: client.client_id, ...parameters })
  return address
}

/** Sends the person's browser to the authorization endpoint and returns where the provider sends it. */
async function authorize(party, parameters) {
  return (await signIn(browser, authorizationAddress(party, parameters), input.identifier, input.password)).back
}

async function redeem({ client, auth, dpop }, callback, request, verifier = request.verifier) {
  const tokens = await call(
    () => oauth.authorizationCodeGrantRequest(as, client, auth, callback, input.redirect_uri, verifier, { ...http, DPoP: dpop }),
    async (response) => {
      const result = await oauth.processAuthorizationCodeResponse(as, client, response, { expectedNonce: request.nonce, requireIdToken: true })
      await oauth.validateApplicationLevelSignature(as, response, http)
      return result
    },
  )
  return { ...tokens, claims: oauth.getValidatedIdTokenClaims(tokens) }
}

const refresh = ({ client, auth, dpop }, token) =>
  call(
    () => oauth.refreshTokenGrantRequest(as, client, auth, token, { ...http, DPoP: dpop }),
    (response) => oauth.processRefreshTokenResponse(as, client, response),
  )

/** Asks userinfo with a handle that has seen no nonce yet, as a resource server of its own would have it. */
function userinfo({ client, proofKey }, tokens, key = proofKey) {
  const dpop = oauth.DPoP(client, key)
  return call(
    () => oauth.userInfoRequest(as, client, tokens.access_token, { ...http, DPoP: dpop }),
    (response) => oauth.processUserInfoResponse(as, client, tokens.claims.sub, response),
  )
}

async function introspect({ client, auth }, token) {
  return oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, auth, token, http))
}

async function revoke({ client, auth }, token) {
  return oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, token, http))
}

/** The name of the error with which something is refused. */
async function refusal(attempt) {
  try {
    await attempt()
  } catch (error) {
    return error.error ?? error.cause?.find?.(({ scheme }) => scheme === 'dpop')?.parameters.error ?? error.code ?? String(error)
  }
  return 'nothing was refused'
}

// Discovery, a pushed request, the code flow with PKCE, tokens bound to a key, and all that can be done with them.
const web = await relyingParty(input.web)
const pushed = await newRequest('openid email offline_access')
const { request_uri } = await push(web, pushed.parameters)
const back = await authorize(web, { request_uri })
const callback = oauth.validateAuthResponse(as, web.client, back, pushed.state)
const tokens = await redeem(web, callback, pushed)
const person = await userinfo(web, tokens)
const fresh = await refresh(web, tokens.refresh_token)
const info = await introspect(web, fresh.access_token)

// A signed request object by value, and its answer as a signed object (JARM).
const signed = await newRequest('openid', { response_mode: 'jwt' })
const object = await oauth.issueRequestObject(as, web.client, signed.parameters, web.key)
const jarm = await authorize(web, { request: object })
const jarmTokens = await redeem(web, await oauth.validateJwtAuthResponse(as, web.client, jarm, signed.state, http), signed)

// FAPI 2.0: a pushed request object, its signed answer, tokens that are bound and a refresh token that stays.
const fapi = await relyingParty(input.fapi)
const strict = await newRequest('openid email offline_access', { response_mode: 'jwt' })
const strictObject = await oauth.issueRequestObject(as, fapi.client, strict.parameters, fapi.key)
const strictBack = await authorize(fapi, { request_uri: (await push(fapi, { request: strictObject })).request_uri })
const strictTokens = await redeem(fapi, await oauth.validateJwtAuthResponse(as, fapi.client, strictBack, strict.state, http), strict)
const strictPerson = await userinfo(fapi, strictTokens)
const strictFresh = await refresh(fapi, strictTokens.refresh_token)

/** A new callback of the client, for attempts that use its code up. */
async function another(party = web) {
  const request = await newRequest('openid')
  const location = await authorize(party, { request_uri: (await push(party, request.parameters)).request_uri })
  return [oauth.validateAuthResponse(as, party.client, location, request.state), request]
}

/** The address with one parameter of its query changed; undefined takes it away. */
function changed(address, name, value) {
  const copy = new URL(address)
  if (value === undefined) copy.searchParams.delete(name)
  else copy.searchParams.set(name, value)
  return copy
}

const elsewhere = await discover(input.other_issuer)
const thief = await relyingParty({ ...input.fapi, client_id: input.web.client_id })
const addressedElsewhere = oauth.PrivateKeyJwt(web.key, { [oauth.modifyAssertion]: (_, payload) => (payload.aud = input.other_issuer) })
const refused = {
  'discovery of another issuer': await refusal(async () => oauth.processDiscoveryResponse(new URL(input.other_issuer), await oauth.discoveryRequest(new URL(input.issuer), http))),
  'answer with another state': await refusal(() => oauth.validateAuthResponse(as, web.client, back, oauth.generateRandomState())),
  'answer with the iss of another tenant': await refusal(() => oauth.validateAuthResponse(as, web.client, changed(back, 'iss', input.other_issuer), pushed.state)),
  'answer without iss': await refusal(() => oauth.validateAuthResponse(as, web.client, changed(back, 'iss'), pushed.state)),
  'signed answer for another client': await refusal(() => oauth.validateJwtAuthResponse(as, { ...web.client, client_id: fapi.client.client_id }, jarm, signed.state, http)),
  'signed answer with another state': await refusal(() => oauth.validateJwtAuthResponse(as, web.client, jarm, oauth.generateRandomState(), http)),
  'signed answer of another tenant': await refusal(() => oauth.validateJwtAuthResponse(elsewhere, web.client, jarm, signed.state, http)),
  'ID token for another nonce': await refusal(async () => {
    const [theirs, request] = await another()
    return redeem(web, theirs, { ...request, nonce: oauth.generateRandomNonce() })
  }),
  'code with another verifier': await refusal(async () => redeem(web, ...(await another()), oauth.generateRandomCodeVerifier())),
  'code that was spent': await refusal(async () => {
    const once = await another()
    await redeem(web, ...once)
    return redeem(web, ...once)
  }),
  'code of another client': await refusal(async () => redeem(fapi, ...(await another()))),
  'assertion signed with another key': await refusal(() => push(thief, pushed.parameters)),
  'assertion for another tenant': await refusal(() => push({ ...web, auth: addressedElsewhere }, pushed.parameters)),
  'pushed request without PKCE': await refusal(() => push(web, { ...pushed.parameters, code_challenge: '', code_challenge_method: '' })),
  'pushed request that was answered': `a page with status ${(await browser.open(authorizationAddress(web, { request_uri }))).status}`,
  'request object signed with another key': await refusal(async () => {
    const forged = await oauth.issueRequestObject(as, web.client, pushed.parameters, thief.key)
    return oauth.validateAuthResponse(as, web.client, await authorize(web, { request: forged, redirect_uri: input.redirect_uri, state: pushed.state }), oauth.skipStateCheck)
  }),
  'FAPI request that was not pushed': await refusal(async () =>
    oauth.validateAuthResponse(as, fapi.client, await authorize(fapi, pushed.parameters), oauth.skipStateCheck),
  ),
  'token with the proof of another key': await refusal(() => userinfo(web, jarmTokens, thief.proofKey)),
  'FAPI code without a proof': await refusal(async () => redeem({ ...fapi, dpop: undefined }, ...(await another(fapi)))),
}

await revoke(web, fresh.refresh_token)
refused['refresh token that was revoked'] = await refusal(() => refresh(web, fresh.refresh_token))
const after = await introspect(web, fresh.access_token)

console.log(
  JSON.stringify(
    {
      nonces,
      person,
      token_type: tokens.token_type,
      rotated: fresh.refresh_token !== tokens.refresh_token,
      introspection: info,
      bound: info.cnf?.jkt === (await web.dpop.calculateThumbprint()),
      active_after_revocation: after.active,
      jarm: { sub: jarmTokens.claims.sub, parameters: [...jarm.searchParams.keys()] },
      fapi: {
        person: strictPerson,
        token_type: strictTokens.token_type,
        parameters: [...strictBack.searchParams.keys()],
        rotated: strictFresh.refresh_token !== undefined && strictFresh.refresh_token !== strictTokens.refresh_token,
      },
      refused,
    },
    null,
    2,
  ),
)
