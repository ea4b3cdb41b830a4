/** Server-sent events as the HTML standard defines them, read from a response. */

export interface Frame {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: string;
}

export type Piece =
  | { readonly kind: "frame"; readonly frame: Frame }
  | { readonly kind: "comment" }
  | { readonly kind: "retry"; readonly milliseconds: number };

/** Reads text in chunks of any size. What stands behind the last empty line is no frame yet. */
export class SseParser {
  #rest = "";
  #id: string | undefined;
  #event = "";
  #data: string[] = [];
  #isFirst = true;

  /** What the chunk completes. */
  push(chunk: string): Piece[] {
    let text = this.#rest + chunk;
    if (this.#isFirst && text !== "") {
      this.#isFirst = false;
      text = text.replace(/^\uFEFF/, "");
    }
    // A CR at the end of a chunk may be the first half of a CRLF.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line: string): Piece[] {
    if (line === "") {
      return this.#dispatched();
    }
    if (line.startsWith(":")) {
      return [{ kind: "comment" }];
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    return this.#field(name, value);
  }

  #field(name: string, value: string): Piece[] {
    if (name === "data") {
      this.#data.push(value);
    } else if (name === "event") {
      this.#event = value;
    } else if (name === "id" && !value.includes("\0")) {
      this.#id = value;
    } else if (name === "retry" && /^\d+$/.test(value)) {
      return [{ kind: "retry", milliseconds: Number(value) }];
    }
    return [];
  }

  #dispatched(): Piece[] {
    const frame = { id: this.#id, event: this.#event || "message", data: this.#data.join("\n") };
    const isEmpty = this.#data.length === 0;
    this.#id = undefined;
    this.#event = "";
    this.#data = [];
    return isEmpty ? [] : [{ kind: "frame", frame }];
  }
}

/** What a response says, until it ends. Rejects if the connection breaks. */
export async function* piecesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Piece, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new SseParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    // Ends the connection if the reader leaves before it has ended.
    await reader.cancel().catch(() => undefined);
  }
}
