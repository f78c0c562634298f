// The openai package as its users call it. Prints one JSON object: what texts, an image and a bad request gave.
// Usage: node openai.js HOST:PORT MODEL IMAGE_URI TEXT...
import OpenAI from 'openai'

const [address, model, image, ...texts] = process.argv.slice(2)
const client = new OpenAI({ baseURL: `http://${address}/v1`, apiKey: 'none', maxRetries: 0, timeout: 20_000 })
const vectors = (answer) => answer.data.map((each) => each.embedding)

const answer = await client.embeddings.create({ model, input: [...texts, image] })
const floats = await client.embeddings.create({ model, input: [...texts, image], encoding_format: 'float' })
const refused = await client.embeddings.create({ model, input: [] }).catch((error) => error)
const models = []
for await (const each of client.models.list()) models.push(each.id)

console.log(JSON.stringify({
  model: answer.model,
  vectors: vectors(answer),
  floats: vectors(floats),
  usage: answer.usage,
  refused: { type: refused.constructor.name, status: refused.status, code: refused.code, param: refused.param },
  models,
}))
