/** Stands in for fetch. */

export interface Sent {
  readonly url: string;
  readonly verb: string;
  readonly headers: Record<string, string>;
  readonly body: unknown;
}

export type Answering = (sent: Sent, number: number) => Response | Promise<Response>;

/** A fetch that answers as told, and what was sent to it. */
export function server(answering: Answering): { fetch: typeof fetch; sent: Sent[] } {
  const sent: Sent[] = [];
  const answer = async (url: unknown, init: RequestInit = {}): Promise<Response> => {
    init.signal?.throwIfAborted();
    const body: unknown = typeof init.body === "string" ? JSON.parse(init.body) : undefined;
    const one = {
      url: String(url),
      verb: init.method ?? "GET",
      headers: init.headers as Record<string, string>,
      body,
    };
    sent.push(one);
    return answering(one, sent.length);
  };
  return { fetch: answer as typeof fetch, sent };
}

export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });
}

/** A refusal of Plinth. */
export function refusal(status: number, code: number, reason: string, ...details: object[]): Response {
  const info = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    reason,
    domain: "plinth",
    metadata: { key: "v" },
  };
  return json({ code, message: `refused: ${reason}`, details: [info, ...details] }, status, {
    "x-request-id": "r-1",
  });
}

export const AT_ONCE = { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "0.001s" };

export function session(number: number): object {
  const user = { id: "u", email: "a@b.example", firstName: "", lastName: "" };
  const tokens = { accessToken: `access-${number}`, refreshToken: `refresh-${number}`, expiresIn: 900 };
  return { ...tokens, tokenType: "Bearer", user, tenantId: "t-1", roles: ["owner"] };
}
