/** Sends a file and tells how far it is: fetch tells nothing of what it has sent. */

/** A file, or its bytes. */
export type FileBody = Blob | ArrayBuffer | Uint8Array;

/** Is told how many bytes were sent, and how many there are. */
export type Progress = (sent: number, total: number) => void;

/** Milliseconds for an upload, which the gateway gives no longer. */
export const UPLOAD_TIMEOUT = 300_000;
const PIECE = 64 * 1024;

/** The type of a file, if it has one. */
export function typeOf(file: FileBody): string {
  return (file instanceof Blob && file.type) || "application/octet-stream";
}

/** What fetch would give. In browsers it is an XMLHttpRequest, since their fetch sends no stream over HTTP/1.1. */
export function sendFile(
  fetcher: typeof fetch,
  url: string,
  init: RequestInit,
  onProgress: Progress,
): Promise<Response> {
  const file = new Blob([init.body as BlobPart]);
  if (typeof XMLHttpRequest === "undefined") {
    // TypeScript's RequestInit lacks it.
    const streamed = { ...init, body: counted(file, onProgress), duplex: "half" };
    return fetcher(url, streamed as RequestInit);
  }
  return byXhr(url, init, file, onProgress);
}

/** The bytes in pieces. A piece counts as sent once the next one is asked for. */
function counted(file: Blob, onProgress: Progress): ReadableStream<Uint8Array> {
  let sent = 0;
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
    if (sent > 0) {
      onProgress(sent, file.size);
    }
    const piece = new Uint8Array(await file.slice(sent, sent + PIECE).arrayBuffer());
    sent += piece.length;
    if (piece.length > 0) {
      controller.enqueue(piece);
    } else {
      controller.close();
    }
  };
  return new ReadableStream({ pull }, { highWaterMark: 0 });
}

function byXhr(url: string, init: RequestInit, file: Blob, onProgress: Progress): Promise<Response> {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    const { signal } = init;
    const abort = () => xhr.abort();
    xhr.open(init.method ?? "POST", url);
    xhr.responseType = "blob";
    for (const [name, value] of new Headers(init.headers)) {
      xhr.setRequestHeader(name, value);
    }
    xhr.upload.onprogress = ({ loaded, total }) => onProgress(loaded, total);
    xhr.onload = () => resolve(responseOf(xhr));
    xhr.onerror = () => reject(new TypeError("The connection failed."));
    xhr.onabort = () => reject(signal?.reason ?? new TypeError("The request was aborted."));
    xhr.onloadend = () => signal?.removeEventListener("abort", abort);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) {
      reject(signal.reason);
    } else {
      xhr.send(file);
    }
  });
}

function responseOf(xhr: XMLHttpRequest): Response {
  const headers = new Headers();
  for (const line of xhr.getAllResponseHeaders().trim().split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) {
      headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    }
  }
  const body = [204, 304].includes(xhr.status) ? null : (xhr.response as Blob);
  return new Response(body, { status: xhr.status, headers });
}
