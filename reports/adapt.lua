-- What a report leaves out, and its front matter, both of which follow the data.
-- [](){.absent} as a paragraph of a section leaves out the section; inside a figure or a table,
-- only that. [text]{.title}, {.subtitle} and {.author} set the front matter. Quarto runs this
-- before its own filters, the light renderer before crossref.lua, so that what is left is numbered.

local front = {title = true, subtitle = true, author = true}

local function absent(block)
  local found = false
  block:walk({Span = function(span)
    if span.classes:includes("absent") then found = true end
  end})
  return found
end

-- Blocks between headings of one level or above; a marked section goes with all below it.
local function kept(blocks)
  local out, skip, start, level = pandoc.Blocks({}), nil, nil, {}
  for _, block in ipairs(blocks) do
    if block.t == "Header" then
      if skip and block.level <= skip then skip = nil end
      if not skip then
        out:insert(block)
        level[#level + 1] = {at = #out, level = block.level}
      end
    elseif not skip then
      if not absent(block) then
        out:insert(block)
      elseif block.t ~= "Div" and #level > 0 then
        -- The section that the mark stands in: back to its heading.
        local section = level[#level]
        while #out >= section.at do out:remove(#out) end
        level[#level] = nil
        skip = section.level
      end
    end
  end
  return out
end

local function inner(blocks)
  return blocks:walk({Div = function(div)
    if absent(div) then return {} end
  end})
end

-- Typst makes one sign of three points, in names as well; pandoc does not escape them.
local function points(text)
  if not FORMAT:match("typst") or not text.text:find("...", 1, true) then return nil end
  local out, rest = pandoc.Inlines({}), text.text
  while true do
    local first, last = rest:find("...", 1, true)
    if not first then break end
    if first > 1 then out:insert(pandoc.Str(rest:sub(1, first - 1))) end
    out:insert(pandoc.RawInline("typst", "\\.\\.\\."))
    rest = rest:sub(last + 1)
  end
  if rest ~= "" then out:insert(pandoc.Str(rest)) end
  return out
end

return {{
  Str = points,
}, {
  Pandoc = function(doc)
    local meta = doc.meta
    doc = doc:walk({Span = function(span)
      local name = span.classes[1]
      if front[name] then
        meta[name] = pandoc.MetaInlines(span.content)
        return {}
      end
    end})
    return pandoc.Pandoc(inner(kept(doc.blocks)), meta)
  end,
}}
