//! What the log says of an error: a fixed list of fields. Drivers hang queries, parameters, rows and connection options on
//! their errors, and none of that belongs in a log.

export interface ErrorFields {
  readonly name: string;
  readonly message: string;
  readonly code?: string | number;
  readonly details?: unknown;
  readonly stack?: string;
  readonly cause?: ErrorFields;
}

// A cause may lead back to itself.
const causesMax = 5;

const describe = (error: unknown, depth: number): ErrorFields => {
  if (!(error instanceof Error)) return { name: typeof error, message: String(error) };
  const code: unknown = "code" in error ? error.code : undefined;
  return {
    name: error.name,
    message: error.message,
    ...((typeof code === "string" || typeof code === "number") && { code }),
    ...("details" in error && error.name === "PgstreamError" && { details: error.details }),
    // Where it was thrown matters once; the causes only say what went wrong.
    ...(depth === 0 && error.stack !== undefined && { stack: error.stack }),
    ...(error.cause !== undefined && depth < causesMax && { cause: describe(error.cause, depth + 1) }),
  };
};

export const errorFields = (error: unknown): ErrorFields => describe(error, 0);
