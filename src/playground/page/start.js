/** Loads the page. Where a part of it does not come it is loaded once more, and then it is said: nothing stays blank. */

const AGAIN = 'loaded again'

async function start() {
  const bare = [...document.querySelectorAll('link[rel=stylesheet]')].find((link) => !hasRules(link))
  if (bare) throw new Error(`Failed to load ${bare.href}`)
  await import('./client.js')
}

/** A style that did not come is there as well, without a rule or with none that may be read. */
function hasRules({ sheet }) {
  try {
    return sheet.cssRules.length > 0
  } catch {
    return false
  }
}

try {
  await start()
  document.getElementById('starting').remove()
  sessionStorage.removeItem(AGAIN)
} catch (error) {
  if (sessionStorage.getItem(AGAIN) === null) {
    sessionStorage.setItem(AGAIN, 'yes')
    location.reload()
  } else {
    sessionStorage.removeItem(AGAIN)
    document.getElementById('starting-says').textContent = `The page could not start: ${error.message}`
  }
}
